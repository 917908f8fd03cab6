import type { Client } from './client.js'
import type { CacheOutcome, CacheRequest } from './contract.js'
import { BodyAbortedError } from './errors.js'
import type { JoinedBody } from './fill.js'
import { contentRange } from './ranges.js'
import type { Reader } from './reader.js'

// fill → head → window or file → client

export interface GrowingHead {
  readonly cache: 'HIT' | 'MISS'
  readonly reason: string
  readonly headers: readonly string[]
  /** Bytes of the whole body, where they are known beforehand. */
  readonly total: number | undefined
}

/**
 * Sends a body from a fill, from its beginning. A range, which can only be of everything, gets the 206 it
 * understands if the length is known. Leaves the fill in every case.
 *
 * @throws BodyAbortedError when the fill fails.
 */
export async function sendGrowing(
  request: CacheRequest,
  { response }: Client,
  reader: Reader,
  body: JoinedBody,
  { cache, reason, headers, total }: GrowingHead,
): Promise<CacheOutcome> {
  try {
    // Before a head is sent, a failure can still be answered for.
    if (body.failure !== undefined) throw new BodyAbortedError(body.failure)
    const part = request.header('range') !== undefined && total !== undefined && total > 0
    const status = part ? 206 : 200
    if (part) {
      const range = ['Content-Range', contentRange(0, total, total)]
      response.writeHead(status, 'Partial Content', [...headers, ...range])
    } else {
      response.writeHead(status, reason, [...headers])
    }
    // The head is news by itself while the body is slow to come; of a quick body it goes in one packet with it.
    setImmediate(() => {
      if (!response.writableEnded && !response.destroyed) response.flushHeaders()
    })
    return { kind: 'served', cache, status, bytes: await reader.send(body, 0) }
  } finally {
    body.leave()
  }
}
