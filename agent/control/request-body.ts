import type { IncomingMessage } from 'node:http'
import { ControlRequestError } from './errors.js'

/** The longest request holds a signal and a name. */
const MAX_BYTES = 4_096

/**
 * The JSON object of a request; an empty one when there is no body.
 *
 * @throws ControlRequestError when it is none, or too large.
 */
export async function readObject(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new ControlRequestError(413, `a body may have ${MAX_BYTES} bytes at most`)
    chunks.push(chunk)
  }
  if (bytes === 0) return {}
  let value: unknown
  try {
    value = JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    throw new ControlRequestError(400, 'the body is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ControlRequestError(400, 'the body is not a JSON object')
  return { ...value }
}
