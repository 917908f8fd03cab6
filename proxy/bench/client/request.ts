import { request } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { MeasureError } from '../stage/errors.js'

const REQUEST_LIMIT_MS = 60_000

export interface OneRequest {
  readonly host: string
  readonly path: string
  /** What the answer must be; 200 unless said otherwise. */
  readonly status?: number
  /** What the body's length must be, in bytes. */
  readonly size?: number
}

export interface Timed {
  /** `performance.now()` when the first byte of the body was in our hands; of the head where it has none. */
  readonly firstByteAt: number
  readonly bytes: number
}

/**
 * One GET on a connection that is open already; the body is read and thrown away.
 *
 * @throws MeasureError for another status or length than expected, or a broken connection.
 */
export function requestOnce(
  socket: TLSSocket,
  { host, path, status = 200, size }: OneRequest,
): Promise<Timed> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      socket.destroy()
      reject(new MeasureError(`cannot measure GET ${path}: ${why}`))
    }
    const sent = request({
      createConnection: () => socket,
      headers: { Host: host },
      path,
    })
    sent.setTimeout(REQUEST_LIMIT_MS, () => fail('nothing came for a minute'))
    sent.once('error', (error) => fail(error.message))
    sent.once('response', (response) => {
      let firstByteAt: number | undefined
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        firstByteAt ??= performance.now()
        bytes += chunk.length
      })
      response.once('error', (error) => fail(error.message))
      response.once('end', () => {
        if (response.statusCode !== status) fail(`status ${response.statusCode}`)
        else if (size !== undefined && bytes !== size) fail(`${bytes} bytes, not ${size}`)
        else resolve({ firstByteAt: firstByteAt ?? performance.now(), bytes })
      })
    })
    sent.end()
  })
}
