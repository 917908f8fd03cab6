import { sendHead } from '../../message/send-head.js'
import { answerTo, sendBody, type Answer } from './answer.js'
import type { Client } from '../body/client.js'
import type { CacheOutcome, CacheRequest } from '../contract/contract.js'
import { BodyAbortedError } from '../contract/errors.js'
import type { JoinedBody } from '../fill/fill.js'
import type { RunningFill } from '../fill/fills.js'
import type { Reader } from '../body/reader.js'
import { joiningHead } from '../entry/stored-headers.js'

// fill → head → window or file → client

/**
 * A part that begins so far ahead of what has come is faster had from upstream: a quarter of a second away at the
 * 16 MB/s of a common line, about what a request of its own costs.
 */
const NEAR_BYTES = 4 * 1024 * 1024

/** How a running fill answers one who did not begin it; undefined when upstream is better asked by itself. */
export function growingAnswer(request: CacheRequest, { fill, headers }: RunningFill): Answer | undefined {
  const { total, frontier } = fill
  // Clients take the length of a HEAD for that of the body.
  if (request.method === 'HEAD' && total === undefined) return undefined
  const answer = answerTo(request, { reason: 'OK', head: joiningHead(headers), size: total })
  if (answer.status !== 206) return answer
  // What reaches past the frontier of a body of unknown length may not exist.
  const reach = (part: { from: number; to: number }): number =>
    total === undefined ? part.to : part.from - NEAR_BYTES
  return answer.body?.parts.every((part) => reach(part) <= frontier) === true ? answer : undefined
}

/**
 * Sends an answer whose body comes from a fill. Leaves the fill in every case.
 *
 * @throws BodyAbortedError when the fill fails.
 */
export async function sendGrowing(
  { response }: Client,
  reader: Reader,
  source: JoinedBody,
  answer: Answer,
  cache: 'HIT' | 'MISS',
): Promise<CacheOutcome> {
  const { status, reason, headers, body } = answer
  try {
    // Before a head is sent, a failure can still be answered for.
    if (source.failure !== undefined) throw new BodyAbortedError(source.failure)
    response.writeHead(status, reason, [...headers])
    if (body === undefined) {
      response.end()
      return { kind: 'served', cache, status, bytes: 0 }
    }
    // The head is news by itself while the body is slow to come; of a quick body it goes in one packet with it.
    setImmediate(() => {
      if (!response.writableEnded && !response.destroyed) sendHead(response)
    })
    return { kind: 'served', cache, status, bytes: await sendBody(reader, source, body) }
  } finally {
    source.leave()
  }
}
