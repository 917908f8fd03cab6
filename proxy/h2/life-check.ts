import type { ClientHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'

const PING_LIMIT_MS = 10_000
/**
 * Servers of gRPC count a PING within five minutes of the last one as a strike, and end the connection at the third
 * (proposal A8, server side). An answer to a request clears them.
 */
const STRIKES = 2
const STRIKE_WITHIN_MS = 310_000

/**
 * Asks the other end of a connection whether it is there, by PING (RFC 9113, 6.7). A peer that vanished leaves a
 * connection that looks open, and so does one that broke the protocol: nghttp2 reads no more of it. A request on it
 * would wait for minutes.
 */
export class LifeCheck {
  readonly #session: ClientHttp2Session
  readonly #socket: Socket
  readonly #limitMs: number
  readonly #onDead: () => void
  #read = 0
  #quietSince = performance.now()
  #asking: Promise<void> | undefined
  #askedAt = -Infinity
  #strikes = 0

  /** @param idleLimitMs for which a request may wait: the answer to this comes long before. */
  constructor(session: ClientHttp2Session, socket: Socket, idleLimitMs: number, onDead: () => void) {
    this.#session = session
    this.#socket = socket
    this.#limitMs = Math.min(PING_LIMIT_MS, idleLimitMs / 4)
    this.#onDead = onDead
  }

  /** Bytes that have come since the last time are a sign of life. */
  noteRead(): void {
    const { bytesRead } = this.#socket
    if (bytesRead === this.#read) return
    this.#read = bytesRead
    this.#quietSince = performance.now()
  }

  /** A request has been answered. */
  noteAnswer(): void {
    this.#strikes = 0
  }

  /** Asks if nothing has come for `quietMs`. Resolves when it is answered, or the connection is gone. */
  whenQuiet(quietMs: number): Promise<void> | undefined {
    this.noteRead()
    return performance.now() - this.#quietSince < quietMs ? undefined : this.ask()
  }

  /** Asks, unless that would be held against us. Resolves when it is answered, or the connection is gone. */
  ask(): Promise<void> | undefined {
    if (this.#asking !== undefined) return this.#asking
    if (this.#session.closed || this.#session.destroyed) return undefined
    const now = performance.now()
    if (now - this.#askedAt < STRIKE_WITHIN_MS) {
      if (this.#strikes === STRIKES) return undefined
      this.#strikes += 1
    }
    this.#askedAt = now
    this.#asking = this.#answered().finally(() => (this.#asking = undefined))
    return this.#asking
  }

  #answered(): Promise<void> {
    return new Promise((resolve) => {
      let read = this.#socket.bytesRead
      const timer = setInterval(() => {
        // Behind much else the answer may be late.
        const { bytesRead } = this.#socket
        if (bytesRead === read) this.#onDead()
        read = bytesRead
      }, this.#limitMs)
      const settle = (): void => {
        clearInterval(timer)
        this.#session.off('close', settle)
        resolve()
      }
      this.#session.once('close', settle)
      // False where as many are unanswered as Node allows: those have their own timers.
      if (!this.#session.ping(settle)) settle()
    })
  }
}
