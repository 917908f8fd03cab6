import { createServer, type Server, type Socket } from 'node:net'
import { entry, type EntryListener } from '../../base/process/entry.js'
import { codeOf } from '../../base/errors.js'
import type { ListenAt } from '../../base/process/held-listeners.js'
import type { Logger } from '../../base/log/logger.js'
import { addressOf } from '../message/client-address.js'
import type { ConnectionCount } from './connection-count.js'
import { KEEP_ALIVE } from '../socket/keep-alive.js'
import type { OverloadError } from '../socket/overload.js'
import { peek } from '../socket/peek.js'

/** An address that is not there yet (a Docker bridge) is tried again this often. */
const RETRY_MS = 1_000

/** Who is too many is told so, unless that would itself take too much; then the connection is cut. */
const MAX_EXCESS = 64
const EXCESS_FIRST_BYTE_MS = 1_000
/** While the system gives out no more files it says so for every connection. */
const COMPLAINT_MS = 1_000

export type ClientProtocol = 'http' | 'socks5' | 'socks4' | 'tls'

interface ListenerOptions {
  /** The first must be there; the others may appear later. */
  readonly hosts: readonly string[]
  readonly port: number
  readonly listenAt: ListenAt
  /** A connection that says nothing for this long is closed. */
  readonly firstByteMs: () => number
  readonly count: ConnectionCount
  /** Says no to those who are too many, in their protocol. */
  readonly onExcess: (socket: Socket, protocol: ClientProtocol, why: OverloadError) => void
  readonly onClient: Readonly<Record<ClientProtocol, (socket: Socket) => Promise<void> | void>>
  readonly logger: Logger
}

/** Owns the sockets of the proxy port: accepts, looks at the first byte, hands on. */
export class Listener {
  readonly #options: ListenerOptions
  readonly #servers = new Set<Server>()
  readonly #sockets = new Set<Socket>()
  readonly #retries = new Set<NodeJS.Timeout>()
  readonly #excess = new Set<Socket>()
  readonly #onConnection: EntryListener<[socket: Socket]>
  #complainedAt = -Infinity
  #port = 0
  #stopped = false

  constructor(options: ListenerOptions) {
    this.#options = options
    const { logger } = options
    this.#onConnection = entry({ name: 'connection', logger, ends: (socket) => socket }, (socket: Socket) =>
      this.#accept(socket),
    )
  }

  /** The port in use; differs from the one asked for only if that was 0. */
  get port(): number {
    return this.#port
  }

  get connections(): number {
    return this.#sockets.size
  }

  get sockets(): Iterable<Socket> {
    return this.#sockets
  }

  /** That listens on the first address. */
  get server(): Server | undefined {
    return this.#servers.values().next().value
  }

  /** Resolves once the first address listens. @throws the system's error when it cannot. */
  async start(): Promise<void> {
    const [first = '127.0.0.1', ...others] = this.#options.hosts
    this.#port = await this.#listen(first, this.#options.port)
    for (const host of others) this.#listenWhenPossible(host)
  }

  /** Accepts nobody from now on; connections that are open stay so. */
  stop(): void {
    this.#stopped = true
    for (const timer of this.#retries) clearTimeout(timer)
    for (const server of this.#servers) server.close()
  }

  /** Ends every connection at once. */
  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #listen(host: string, port: number): Promise<number> {
    // Half-open: a client may end its side of a tunnel and still read the other.
    const server = createServer({ ...KEEP_ALIVE, allowHalfOpen: true, noDelay: true }, this.#onConnection)
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#options.listenAt(host, port), () => {
        server.off('error', reject)
        // EMFILE and the like: the connection is lost, the listener is not.
        server.on('error', (error) => this.#complain(error))
        this.#servers.add(server)
        const address = server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : port)
      })
    })
  }

  #listenWhenPossible(host: string): void {
    if (this.#stopped) return
    this.#listen(host, this.#port).then(
      () => this.#options.logger.info({ host, port: this.#port }, 'listening on one more address'),
      (error: unknown) => {
        if (codeOf(error) !== 'EADDRNOTAVAIL') {
          this.#options.logger.warn({ host, port: this.#port, code: codeOf(error) }, 'cannot listen')
          return
        }
        const timer = setTimeout(() => {
          this.#retries.delete(timer)
          this.#listenWhenPossible(host)
        }, RETRY_MS)
        this.#retries.add(timer)
      },
    )
  }

  #complain(error: Error): void {
    const now = performance.now()
    if (now - this.#complainedAt < COMPLAINT_MS) return
    this.#complainedAt = now
    this.#options.logger.error({ code: codeOf(error) }, 'cannot accept a connection')
  }

  async #turnAway(socket: Socket, why: OverloadError): Promise<void> {
    const now = performance.now()
    if (now - this.#complainedAt >= COMPLAINT_MS) {
      this.#complainedAt = now
      this.#options.logger.warn({ problem: why.message }, 'turned away a connection')
    }
    if (this.#excess.size >= MAX_EXCESS) {
      socket.resetAndDestroy()
      return
    }
    this.#excess.add(socket)
    socket.once('close', () => this.#excess.delete(socket))
    const protocol = await peek(socket, protocolOf, EXCESS_FIRST_BYTE_MS)
    if (protocol === undefined) socket.destroy()
    else this.#options.onExcess(socket, protocol, why)
  }

  async #accept(socket: Socket): Promise<void> {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    // A reset may come at any moment of a connection's life; whoever holds it then sees 'close'.
    socket.on('error', () => socket.destroy())
    const address = addressOf(socket)
    const why = this.#options.count.add(address)
    if (why !== undefined) return this.#turnAway(socket, why)
    socket.once('close', () => this.#options.count.remove(address))
    const protocol = await peek(socket, protocolOf, this.#options.firstByteMs())
    if (protocol === undefined) socket.destroy()
    else await this.#options.onClient[protocol](socket)
  }
}

/** SOCKS begins with its version, TLS with a handshake record; all else is for the HTTP parser to judge. */
function protocolOf(bytes: Buffer): ClientProtocol {
  switch (bytes[0]) {
    case 0x05:
      return 'socks5'
    case 0x04:
      return 'socks4'
    case 0x16:
      return 'tls'
    default:
      return 'http'
  }
}
