import { Agent } from 'node:https'
import type { LookupFunction } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'

/** The request that asked for the connection is about to use it. */
const UNUSED_LIMIT_MS = 1_000

type CreateConnection = Agent['createConnection']

/**
 * An HTTP/1.1 agent that can be given a connection somebody else has made, instead of making the next one. Only
 * the request whose route it was made by gets it: another's may not lead to that address.
 */
export class SpareAgent extends Agent {
  readonly #spares = new WeakMap<LookupFunction, TLSSocket>()

  /** @param lookup the route's, by which the request is known again. */
  give(lookup: LookupFunction, socket: TLSSocket): void {
    this.#spares.set(lookup, socket)
    const timer = setTimeout(() => {
      if (this.#spares.delete(lookup)) socket.destroy()
    }, UNUSED_LIMIT_MS)
    socket.once('close', () => clearTimeout(timer))
  }

  override createConnection(...[options, done]: Parameters<CreateConnection>): Duplex | null | undefined {
    const { lookup } = options
    const spare = lookup === undefined ? undefined : this.#spares.get(lookup)
    if (lookup === undefined || spare === undefined || spare.destroyed) {
      return super.createConnection(options, done)
    }
    this.#spares.delete(lookup)
    return spare
  }
}
