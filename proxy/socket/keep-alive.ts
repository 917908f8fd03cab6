import type { Socket } from 'node:net'

/**
 * After this silence the kernel asks whether the other end is there. NATs and balancers forget a connection that was
 * silent for one to six minutes.
 */
export const PROBE_AFTER_MS = 30_000

/** For sockets that `net` makes, outgoing or accepted. */
export const KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelay: PROBE_AFTER_MS } as const

/** For sockets of TLS: those take no such option. */
export function keepAlive(socket: Socket): void {
  if (!socket.connecting) socket.setKeepAlive(true, PROBE_AFTER_MS)
  else socket.once('connect', () => socket.setKeepAlive(true, PROBE_AFTER_MS))
}
