import type { Agent } from 'node:http'
import type { Socket } from 'node:net'
import type { Route } from '../policy/route-guard.js'

// The connections that an agent keeps for later requests, and which request may have which.

/** Closes idle connections to addresses this request may not be sent to: they were made for another one. */
export function leaveForbidden({ freeSockets }: Agent, { target, admits }: Route): void {
  const prefix = prefixOf(target)
  for (const [name, idle] of Object.entries(freeSockets)) {
    if (idle === undefined || !name.startsWith(prefix)) continue
    for (const socket of idle.filter(({ remoteAddress }) => !admits(remoteAddress))) {
      // The agent would otherwise hand it out once more before it sees it close.
      idle.splice(idle.indexOf(socket), 1)
      socket.destroy()
    }
  }
}

/**
 * Runs `make`, which makes one request, while the agent sees none of its idle connections to that place: it opens a
 * new one, and keeps that one afterwards as any other.
 */
export function onNewConnection<Made>(
  { freeSockets }: Agent,
  place: { readonly host: string; readonly port: number },
  make: () => Made,
): Made {
  const pools: NodeJS.Dict<Socket[]> = freeSockets
  const prefix = prefixOf(place)
  const hidden = Object.entries(pools).filter(([name]) => name.startsWith(prefix))
  for (const [name] of hidden) delete pools[name]
  try {
    // The agent looks for a connection within this call, and never again.
    return make()
  } finally {
    for (const [name, idle] of hidden) pools[name] = idle
  }
}

/** Ends all of them, and lets the agent keep no other. Connections in use end with their requests. */
export function keepNone(agent: Agent): void {
  // Asked when a request ends; `destroy` would cut those that are under way as well.
  agent.maxFreeSockets = 0
  for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy()
}

/** The beginning of an agent's name for a pool; the options of TLS follow there. */
function prefixOf({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host}:${port}:`
}
