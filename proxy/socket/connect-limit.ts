import type { Socket } from 'node:net'

/**
 * A socket that is not connected by then fails with ETIMEDOUT, as it would by itself after the 127 s for which
 * Linux tries. With `secureConnect` the TLS handshake must be over too.
 */
export function limitConnecting(socket: Socket, until: 'connect' | 'secureConnect', limitMs: number): void {
  // One of the pool, long connected.
  if (!socket.connecting) return
  limit(socket, until, limitMs)
}

/** The same for TLS over a connection that exists already. */
export function limitSecuring(socket: Socket, limitMs: number): void {
  limit(socket, 'secureConnect', limitMs)
}

/** For a connection that is closed before it could be used, and says nothing of the reason. */
export function closedEarly(): NodeJS.ErrnoException {
  return Object.assign(new Error('the connection was closed before it could be used'), { code: 'ECONNRESET' })
}

function limit(socket: Socket, until: 'connect' | 'secureConnect', limitMs: number): void {
  const timer = setTimeout(() => {
    const error = new Error(`no connection after ${limitMs / 1000} s`)
    socket.destroy(Object.assign(error, { code: 'ETIMEDOUT' }))
  }, limitMs)
  const settle = (): void => clearTimeout(timer)
  socket.once(until, settle)
  socket.once('close', settle)
}
