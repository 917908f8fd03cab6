import { Agent, type ClientRequestArgs } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Where a request's connection may come from instead of being dialled; undefined: it is dialled. */
export interface TunnelOption {
  readonly tunnel?: () => Promise<Socket | undefined>
}

type Done = (error: Error | null, stream: Duplex) => void

/** Plain HTTP over connections that may lead through the upstream proxy. */
export class PlainAgent extends Agent {
  override createConnection(
    options: ClientRequestArgs & TunnelOption,
    done: Done,
  ): ReturnType<Agent['createConnection']> {
    if (options.tunnel === undefined) return super.createConnection(options, done)
    options.tunnel().then(
      (socket) => {
        if (socket !== undefined) return done(null, socket)
        const dialled = super.createConnection(options, done)
        if (dialled !== null && dialled !== undefined) done(null, dialled)
      },
      (error: unknown) => failed(done, error),
    )
    return undefined
  }
}

/** Node's types want a stream even where there is none. */
export function failed(done: Done, error: unknown): void {
  const tell: (error: Error) => void = done as (error: Error) => void
  tell(error instanceof Error ? error : new Error(String(error)))
}
