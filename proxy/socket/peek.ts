import type { Socket } from 'node:net'

/**
 * Reads from `socket` until `classify` knows what it is looking at, then puts everything back.
 *
 * The socket must never have been flowing. On return it is paused with its bytes in front, ready to be given
 * to an HTTP server, to TLS or to a pipe.
 *
 * @param classify is given all bytes so far and answers undefined while it needs more.
 * @param limitMs how long the client may stay undecided.
 * @param signal gives up the look, bytes put back.
 * @returns undefined when the client ended, failed or took too long, or when the look was given up.
 * @throws what `classify` throws.
 */
export function peek<T>(
  socket: Socket,
  classify: (bytes: Buffer) => T | undefined,
  limitMs: number,
  signal?: AbortSignal,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    let seen: Buffer = Buffer.alloc(0)
    const timer = setTimeout(() => finish(undefined), limitMs)
    const finish = (verdict: T | undefined): void => {
      leave()
      resolve(verdict)
    }
    const leave = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onGone)
      socket.off('readable', onReadable).off('end', onGone).off('close', onGone)
      if (seen.length > 0 && !socket.destroyed) socket.unshift(seen)
    }
    const onGone = (): void => finish(undefined)
    const onReadable = (): void => {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
      try {
        const verdict = classify(seen)
        if (verdict !== undefined) finish(verdict)
      } catch (error) {
        leave()
        reject(error instanceof Error ? error : new Error(String(error)))
      }
    }
    signal?.addEventListener('abort', onGone)
    socket.on('readable', onReadable).on('end', onGone).on('close', onGone)
  })
}
