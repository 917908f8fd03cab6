import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { GuardedEntry } from './guarded-entry.js'

/** Connections without a request under way. Node's own list leaves out those that never sent one. */
export function trackIdle(server: Server, entry: GuardedEntry): Set<Socket> {
  const idle = new Set<Socket>()
  server.on(
    'connection',
    entry(
      (socket) => socket,
      (socket: Socket) => {
        idle.add(socket)
        socket.once('close', () => idle.delete(socket))
      },
    ),
  )
  const busy = entry(
    ({ socket }) => socket,
    ({ socket }: IncomingMessage, response: ServerResponse) => {
      idle.delete(socket)
      response.once('close', () => {
        if (socket.destroyed) return
        if (server.listening) idle.add(socket)
        else socket.destroySoon()
      })
    },
  )
  server.on('request', busy)
  server.on('checkExpectation', busy)
  return idle
}
