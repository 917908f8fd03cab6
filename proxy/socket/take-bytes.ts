import type { Readable } from 'node:stream'
import { IdleError, watchIdle } from './idle-watch.js'

const EVENTS = ['readable', 'end', 'close'] as const

/**
 * Takes exactly `length` bytes off the front of what a connection brings; the rest stays in it. Resolves with
 * undefined when it ended before.
 *
 * @throws IdleError when nothing has come for `idleMs`.
 */
export async function takeBytes(
  socket: Readable,
  length: number,
  idleMs: number,
): Promise<Buffer | undefined> {
  const pieces: Buffer[] = []
  let taken = 0
  let stop = (): void => undefined
  const idle = new Promise<never>((_resolve, reject) => {
    const onIdle = (): void => reject(new IdleError('client', idleMs))
    if (length > 0) stop = watchIdle({ limitMs: idleMs, progress: () => taken, onIdle })
  })
  try {
    while (taken < length) {
      // All there is: `read(length)` would leave a part in the stream, which then says for ever that it is readable.
      const piece = socket.read() as Buffer | null
      if (piece !== null) {
        pieces.push(piece)
        taken += piece.length
      } else if (socket.readableEnded || socket.destroyed) return undefined
      else await Promise.race([changed(socket), idle])
    }
  } finally {
    stop()
  }
  const bytes = Buffer.concat(pieces)
  if (taken > length) socket.unshift(bytes.subarray(length))
  return bytes.subarray(0, length)
}

function changed(socket: Readable): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      for (const event of EVENTS) socket.off(event, look)
      resolve()
    }
    for (const event of EVENTS) socket.on(event, look)
  })
}
