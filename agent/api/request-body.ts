import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { refuse } from './problem.js'

/**
 * The body of a request as it comes.
 *
 * @param waitMs asked before each piece for how long it may take.
 * @throws RefusedRequestError with 408 when it takes longer.
 */
export async function* bodyPieces(request: IncomingMessage, waitMs: () => number): AsyncGenerator<Buffer> {
  // Not destroyed when we have enough: the answer still has to go out on the same connection.
  const source = request.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>
  for (;;) {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), Math.max(0, waitMs()))
    })
    const next = await Promise.race([source.next(), late]).finally(() => clearTimeout(timer))
    if (next === undefined) return refuse(408, 'the body did not arrive in time')
    if (next.done === true) return
    yield next.value
  }
}

/**
 * The JSON value a request carries. `application/json` is asked for because no form of a foreign page can send it.
 *
 * @param timeoutMs for the whole body.
 * @throws RefusedRequestError with 400, 408, 413 or 415.
 */
export async function readJson(
  request: IncomingMessage,
  maxBytes: number,
  timeoutMs: number,
): Promise<unknown> {
  const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'application/json')
    refuse(415, 'the body must be application/json', { accept: 'application/json' })
  const tooLong = (): never => refuse(413, `the body is longer than ${maxBytes} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) tooLong()
  const until = performance.now() + timeoutMs
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of bodyPieces(request, () => until - performance.now())) {
    size += piece.length
    if (size > maxBytes) tooLong()
    pieces.push(piece)
  }
  const bytes = Buffer.concat(pieces)
  if (!isUtf8(bytes)) refuse(400, 'the body is not UTF-8')
  try {
    return JSON.parse(bytes.toString()) as unknown
  } catch {
    return refuse(400, 'the body is not JSON')
  }
}
