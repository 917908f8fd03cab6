import { Agent } from 'node:https'
import type { TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'

/** The request that asked for the connection is about to use it. */
const UNUSED_LIMIT_MS = 1_000

type CreateConnection = Agent['createConnection']

/** An HTTP/1.1 agent that can be given a connection somebody else has made, instead of making the next one. */
export class SpareAgent extends Agent {
  readonly #spares = new Map<string, TLSSocket>()

  give(host: string, port: number, socket: TLSSocket): void {
    const key = `${host} ${port}`
    this.#spares.get(key)?.destroy()
    this.#spares.set(key, socket)
    const forget = (): void => {
      if (this.#spares.get(key) === socket) this.#spares.delete(key)
    }
    const timer = setTimeout(() => {
      if (this.#spares.get(key) === socket) socket.destroy()
    }, UNUSED_LIMIT_MS)
    socket.once('close', () => {
      clearTimeout(timer)
      forget()
    })
  }

  override createConnection(...[options, done]: Parameters<CreateConnection>): Duplex | null | undefined {
    const key = `${options.host ?? ''} ${options.port ?? ''}`
    const spare = this.#spares.get(key)
    if (spare === undefined || spare.destroyed) return super.createConnection(options, done)
    this.#spares.delete(key)
    return spare
  }
}
