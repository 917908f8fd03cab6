import type { Socket } from 'node:net'

/** Exactly `count` bytes, leaving the rest in the socket. @throws when the other side ends before. */
export function take(socket: Socket, count: number): Promise<Buffer> {
  if (count === 0) return Promise.resolve(Buffer.alloc(0))
  return new Promise((resolve, reject) => {
    const settle = (bytes: Buffer | null): void => {
      socket.off('readable', onReadable).off('end', onGone).off('close', onGone)
      if (bytes !== null && bytes.length === count) resolve(bytes)
      else reject(new Error('cannot read on: the connection ended'))
    }
    const onGone = (): void => settle(null)
    // Neither event comes a second time.
    if (socket.readableEnded || socket.destroyed)
      return reject(new Error('cannot read on: the connection ended'))
    const onReadable = (): void => {
      const bytes = socket.read(count) as Buffer | null
      if (bytes !== null) settle(bytes)
    }
    socket.on('readable', onReadable).on('end', onGone).on('close', onGone)
    onReadable()
  })
}
