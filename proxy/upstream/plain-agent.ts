import { Agent, type AgentOptions, type ClientRequestArgs } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { OpenSockets } from '../watch/open-sockets.js'

/** Where a request's connection may come from instead of being dialled; undefined: it is dialled. */
export interface TunnelOption {
  readonly tunnel?: () => Promise<Socket | undefined>
}

type Done = (error: Error | null, stream: Duplex) => void

/** Plain HTTP over connections that may lead through the upstream proxy. */
export class PlainAgent extends Agent {
  readonly #sockets: OpenSockets

  constructor(options: AgentOptions, sockets: OpenSockets) {
    super(options)
    this.#sockets = sockets
  }

  override createConnection(
    options: ClientRequestArgs & TunnelOption,
    done: Done,
  ): ReturnType<Agent['createConnection']> {
    if (options.tunnel === undefined) return this.#dial(options, done)
    options.tunnel().then(
      (socket) => {
        if (socket !== undefined) return done(null, socket)
        const dialled = this.#dial(options, done)
        if (dialled !== null && dialled !== undefined) done(null, dialled)
      },
      (error: unknown) => failed(done, error),
    )
    return undefined
  }

  #dial(options: ClientRequestArgs, done: Done): ReturnType<Agent['createConnection']> {
    const socket = super.createConnection(options, done)
    return socket instanceof Socket ? this.#sockets.add(socket) : socket
  }
}

/** Node's types want a stream even where there is none. */
export function failed(done: Done, error: unknown): void {
  const tell: (error: Error) => void = done as (error: Error) => void
  tell(error instanceof Error ? error : new Error(String(error)))
}
