import type { Socket } from 'node:net'
import type { Logger } from '../../base/log/logger.js'
import { addressOf } from '../message/client-address.js'
import type { Target } from '../../base/net/target.js'

/** By which protocol a client asked for a tunnel; in the log where requests have their method. */
export type TunnelMethod = 'CONNECT' | 'SOCKS5'

/** Bytes of a tunnel: `sent` by the client and passed on to upstream, `received` from there. */
export interface Flowed {
  readonly sent: number
  readonly received: number
}

/**
 * Counts what upstream is given and gives from now on, in bytes. What waits on its side to be read counts; what a
 * handshake with another proxy took does not.
 */
export function countFlow(upstream: Socket): () => Flowed {
  const read = upstream.bytesRead - upstream.readableLength
  const written = upstream.bytesWritten
  return () => ({ sent: upstream.bytesWritten - written, received: upstream.bytesRead - read })
}

/** Logs one tunnel in which nobody looks at the bytes, in the words of a request's line. */
export class TunnelLog {
  readonly #logger: Logger
  readonly #now: () => number
  readonly #line: { readonly method: TunnelMethod; readonly host: string; readonly client: string }
  readonly #began: number

  /** @param now milliseconds, monotonic. */
  constructor(logger: Logger, now: () => number, method: TunnelMethod, target: Target, socket: Socket) {
    this.#logger = logger
    this.#now = now
    // A socket forgets its peer when it is closed.
    this.#line = { method, host: target.authority, client: addressOf(socket) }
    this.#began = now()
  }

  /** Once, when it is over. */
  closed({ sent, received }: Flowed = { sent: 0, received: 0 }, problem?: string): void {
    this.#logger[problem === undefined ? 'info' : 'warn'](
      {
        ...this.#line,
        sent,
        received,
        duration: `${Math.round(this.#now() - this.#began)}ms`,
        ...(problem === undefined ? {} : { problem }),
      },
      'tunnel closed',
    )
  }
}
