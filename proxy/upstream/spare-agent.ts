import { Agent, type AgentOptions } from 'node:https'
import type { LookupFunction } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'
import { closedEarly, limitSecuring } from '../socket/connect-limit.js'
import { failed, type TunnelOption } from './plain-agent.js'
import type { OpenSockets } from '../watch/open-sockets.js'

/** The request that asked for the connection is about to use it. */
const UNUSED_LIMIT_MS = 1_000

type CreateConnection = Agent['createConnection']

/**
 * An HTTP/1.1 agent that can be given a connection somebody else has made, instead of making the next one. Only
 * the request whose route it was made by gets it: another's may not lead to that address.
 */
export class SpareAgent extends Agent {
  readonly #spares = new WeakMap<LookupFunction, TLSSocket>()
  readonly #limitMs: number
  readonly #sockets: OpenSockets

  /** @param limitMs for TLS over a connection that exists already. */
  constructor(options: AgentOptions, limitMs: number, sockets: OpenSockets) {
    super(options)
    this.#sockets = sockets
    this.#limitMs = limitMs
  }

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
      return this.#make(options, done)
    }
    this.#spares.delete(lookup)
    return spare
  }

  #note(socket: Duplex | null | undefined): Duplex | null | undefined {
    return socket instanceof TLSSocket ? this.#sockets.add(socket) : socket
  }

  #make(...[options, done]: Parameters<CreateConnection>): Duplex | null | undefined {
    const { tunnel } = options as typeof options & TunnelOption
    if (tunnel === undefined || done === undefined) return this.#note(super.createConnection(options, done))
    const createDirectly = (more: object): Duplex | null | undefined =>
      super.createConnection({ ...options, ...more }, done)
    tunnel().then(
      (socket) => {
        const secure = socket === undefined ? this.#note(createDirectly({})) : createDirectly({ socket })
        if (!(secure instanceof TLSSocket) || socket === undefined) {
          if (secure !== null && secure !== undefined) done(null, secure)
          return
        }
        // A body is touched only once there is a connection, which here is when TLS is agreed on.
        limitSecuring(secure, this.#limitMs)
        const refused = (error: Error): void => failed(done, error)
        // Cut below TLS, it closes without an error.
        const closed = (): void => refused(closedEarly())
        secure.once('error', refused).once('close', closed)
        secure.once('secureConnect', () => {
          secure.off('error', refused).off('close', closed)
          done(null, secure)
        })
      },
      (error: unknown) => failed(done, error),
    )
    return undefined
  }
}
