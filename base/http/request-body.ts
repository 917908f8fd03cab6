import type { IncomingMessage } from 'node:http'
import { refuse } from './problem.js'
import { isAnyBytes, type BodySpec } from './route.js'

/**
 * Refuses a body of a kind that the route does not describe. An HTML form can send none of those in use here, so no
 * page can post to us without asking first, and asking is refused.
 *
 * @throws RefusedRequestError with 415.
 */
export function requireType({ headers }: IncomingMessage, { content }: BodySpec): void {
  if (isAnyBytes({ content })) return
  const types = Object.keys(content)
  if (!types.includes(mediaType(headers)))
    refuse(415, `the body must be ${types.join(' or ')}`, { Accept: types.join(', ') })
  if (headers['content-encoding'] !== undefined) refuse(415, 'the body must not be encoded')
}

/** Lower case, without parameters; empty where there is none. */
export function mediaType(headers: IncomingMessage['headers']): string {
  return headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

/** Whether its head says that a body follows. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/**
 * The body of a request as it comes.
 *
 * @param waitMs asked before each piece for how long it may take.
 * @throws RefusedRequestError with 400 or 408.
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
 * The text that a request carries.
 *
 * @param timeoutMs for the whole body.
 * @throws RefusedRequestError with 400, 408 or 413.
 */
export async function readText(
  request: IncomingMessage,
  maxBytes: number,
  timeoutMs: number,
): Promise<string> {
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
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces))
  } catch {
    return refuse(400, 'the body is not UTF-8')
  }
}

/** @throws RefusedRequestError with 400. The parser's own message quotes the text, which may hold secrets. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return refuse(400, 'the body is not valid JSON')
  }
}

/** A client that is answered early has this long to finish what it is saying. */
const DISCARD_LIMIT_MS = 500
/** Twice what any body that is read as a whole may have here, and quick to read. */
const DISCARD_LIMIT_BYTES = 2 * 1024 * 1024

/**
 * Reads the rest of a body for nobody: closing over what is still on its way would reset the connection before the
 * answer is read. Resolves at its end, or when that takes too long or too much.
 */
export function discardBody(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let length = 0
    const done = (): void => {
      clearTimeout(timer)
      request.pause()
      resolve()
    }
    const timer = setTimeout(done, DISCARD_LIMIT_MS)
    request.once('close', done)
    request.once('end', done)
    request.on('data', (piece: Buffer) => {
      length += piece.length
      if (length > DISCARD_LIMIT_BYTES) done()
    })
  })
}
