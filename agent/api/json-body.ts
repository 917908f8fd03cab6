import type { IncomingMessage } from 'node:http'
import { isUtf8 } from 'node:buffer'
import { refuse } from './problem.js'

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
  const tooLong = (): never =>
    refuse(413, `the body is longer than ${maxBytes} bytes`, { connection: 'close' })
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) tooLong()
  const bytes = await readBytes(request, maxBytes, timeoutMs, tooLong)
  if (!isUtf8(bytes)) refuse(400, 'the body is not UTF-8')
  try {
    return JSON.parse(bytes.toString()) as unknown
  } catch {
    return refuse(400, 'the body is not JSON')
  }
}

async function readBytes(
  request: IncomingMessage,
  maxBytes: number,
  timeoutMs: number,
  tooLong: () => never,
): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  let late = false
  // Not destroyed: the answer still has to go out on the same connection.
  const source = request.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), timeoutMs)
  })
  try {
    for (;;) {
      const next = await Promise.race([source.next(), timeout])
      late = next === 'late'
      if (next === 'late' || next.done === true) break
      size += next.value.length
      if (size > maxBytes) tooLong()
      chunks.push(next.value)
    }
  } finally {
    clearTimeout(timer)
  }
  if (late) refuse(408, `the body did not arrive within ${timeoutMs} ms`, { connection: 'close' })
  return Buffer.concat(chunks)
}
