import type { ClientHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'

const PING_LIMIT_MS = 10_000
/** After this, a connection with requests under way is asked as well. */
const SILENT_MS = 30_000
/**
 * Servers of gRPC count a PING within five minutes of the last one as a strike, and end the connection at the third
 * (proposal A8, server side). An answer to a request clears them.
 */
const STRIKES = 2
const STRIKE_WITHIN_MS = 310_000

interface LifeCheckOptions {
  readonly session: ClientHttp2Session
  readonly socket: Socket
  /** For which a request may wait: the answer to this comes long before. */
  readonly idleLimitMs: number
  /** Whether requests are under way. */
  readonly isWaiting: () => boolean
  readonly onDead: () => void
}

/**
 * Asks the other end of a connection whether it is there, by PING (RFC 9113, 6.7). A peer that vanished leaves a
 * connection that looks open, and so does one that broke the protocol: nghttp2 reads no more of it. A request on it
 * would wait for minutes.
 */
export class LifeCheck {
  readonly #options: LifeCheckOptions
  #read = 0
  #quietSince = performance.now()
  #asking: Promise<void> | undefined
  #askedAt = -Infinity
  #strikes = 0
  #moved = 0

  constructor(options: LifeCheckOptions) {
    this.#options = options
    const { session, idleLimitMs } = options
    const looking = setInterval(() => this.#look(), Math.min(SILENT_MS, idleLimitMs / 4)).unref()
    session.once('close', () => clearInterval(looking))
  }

  /** Bytes that have come since the last time are a sign of life. */
  noteRead(): void {
    const { bytesRead } = this.#options.socket
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
    const { session } = this.#options
    if (session.closed || session.destroyed) return undefined
    const now = performance.now()
    if (now - this.#askedAt < STRIKE_WITHIN_MS) {
      if (this.#strikes === STRIKES) return undefined
      this.#strikes += 1
    }
    this.#askedAt = now
    this.#asking = this.#answered().finally(() => (this.#asking = undefined))
    return this.#asking
  }

  #look(): void {
    const { socket, isWaiting } = this.#options
    const moved = socket.bytesRead + socket.bytesWritten
    // One that ends with its session has nothing more to tell.
    if (isWaiting() && moved === this.#moved) this.ask()?.catch(() => undefined)
    this.#moved = moved
  }

  #answered(): Promise<void> {
    const { session, socket, idleLimitMs, onDead } = this.#options
    return new Promise((resolve) => {
      let read = socket.bytesRead
      const timer = setInterval(
        () => {
          // Behind much else the answer may be late.
          if (socket.bytesRead === read) onDead()
          read = socket.bytesRead
        },
        Math.min(PING_LIMIT_MS, idleLimitMs / 4),
      )
      const settle = (): void => {
        clearInterval(timer)
        session.off('close', settle)
        resolve()
      }
      session.once('close', settle)
      // False where as many are unanswered as Node allows: those have their own timers.
      if (!session.ping(settle)) settle()
    })
  }
}
