import { ServerResponse } from 'node:http'
import type { ClientResponse } from './message.js'

const NOTHING = Buffer.alloc(0)

/** Sends the head of an answer before there is a body. */
export function sendHead(response: ClientResponse): void {
  // Node's own flushHeaders writes text, and so every byte of a field beyond ASCII as the two of UTF-8.
  if (response instanceof ServerResponse) response.write(NOTHING)
  else response.flushHeaders()
}
