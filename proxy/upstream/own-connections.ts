import type { Agent } from 'node:http'
import type { Socket } from 'node:net'
import { headerValues, type RawHeaders } from '../message/headers.js'
import { keepNone } from './idle-connections.js'
import type { Target } from '../../base/net/target.js'

/** RFC 4559, 6 and [MS-NTHT], 1.3: their login is the connection's, and holds for requests that say nothing of it. */
const OF_THE_CONNECTION = /^\s*(ntlm|negotiate|kerberos)\b/i

/** Whether upstream will take the connection for the one who sends this. */
export function logsConnectionIn(headers: RawHeaders): boolean {
  const shown = headerValues(headers, 'authorization')
  return shown.length > 0 && shown.some((value) => OF_THE_CONNECTION.test(value))
}

/** A place is a scheme and an authority. */
type Place = string

/** Connections that one client's connection has to itself, from its first login to its end. */
export class OwnConnections<Kind extends Agent> {
  readonly #clients = new WeakMap<Socket, Map<Place, Kind>>()
  readonly #agents = new Set<Kind>()

  /** Those of `client` to `target`, where it has any. */
  find(client: Socket, scheme: string, { authority }: Target): Kind | undefined {
    return this.#clients.get(client)?.get(`${scheme}://${authority}`)
  }

  /** The same, which are kept by what `make` makes from now on. */
  take(client: Socket, scheme: string, target: Target, make: () => Kind): Kind {
    const known = this.find(client, scheme, target)
    if (known !== undefined) return known
    const agent = make()
    this.#placesOf(client).set(`${scheme}://${target.authority}`, agent)
    this.#agents.add(agent)
    // One that has left by now is told of no close.
    if (client.destroyed) agent.maxFreeSockets = 0
    return agent
  }

  #placesOf(client: Socket): Map<Place, Kind> {
    const known = this.#clients.get(client)
    if (known !== undefined) return known
    const places = new Map<Place, Kind>()
    this.#clients.set(client, places)
    client.once('close', () => {
      for (const agent of places.values()) {
        this.#agents.delete(agent)
        agent.destroy()
      }
    })
    return places
  }

  /** Ends them when they are not in use. */
  retire(): void {
    for (const agent of this.#agents) keepNone(agent)
  }

  close(): void {
    for (const agent of this.#agents) agent.destroy()
  }
}
