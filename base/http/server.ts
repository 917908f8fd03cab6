import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { answer, type Service } from './answer.js'
import type { answerUpgrade } from './answer-upgrade.js'
import type { GuardedEntry } from './guarded-entry.js'
import { trackIdle } from './idle-connections.js'
import type { Route } from './route.js'
import { makeRouter, type RouterOptions } from './router.js'
import { UnderWay } from './under-way.js'
import { WaitingAnswers } from './waiting-answers.js'

interface ServerOptions extends Omit<Service, 'router'>, RouterOptions {
  readonly routes: readonly Route[]
  /** For the head of a request. */
  readonly headersTimeoutMs: number
  /** For the whole of a request; not limited unless given, because a large body takes what it takes as long as it moves. */
  readonly requestTimeoutMs?: number
  /** How often Node looks for heads that take too long; its own half minute unless given, which is then their limit. */
  readonly checkIntervalMs?: number
  readonly maxConnections?: number
  readonly entry: GuardedEntry
  /** Where a route takes another protocol. Without it, Node takes a request for one as one for its own. */
  readonly answerUpgrade?: typeof answerUpgrade
  /** Told when the server itself fails once it listens, as when descriptors run out. */
  readonly troubled: (error: Error) => void
}

/** For `server.listen`. */
type Place = { readonly fd: number } | { readonly host: string; readonly port: number }

/** Finds out a client that is gone without a word, on a machine that is gone too. */
const KEEP_ALIVE_PROBE_MS = 30_000

/** Serves routes over HTTP/1.1: each request by its row, and by nothing else. */
export class RouteServer {
  readonly #server: Server
  readonly #underWay = new UnderWay()
  readonly #idle: Set<Socket>
  readonly #troubled: (error: Error) => void

  /** @throws Error for a route whose access no rule knows, or whose upgrades nobody answers. */
  constructor(options: ServerOptions) {
    const { routes, access, entry, headersTimeoutMs, checkIntervalMs, maxConnections } = options
    for (const { method, path, access: level, upgrade } of routes) {
      if (access[level] === undefined)
        throw new Error(`cannot serve ${method} ${path}: no rule says who may ask what takes "${level}"`)
      if (upgrade !== undefined && options.answerUpgrade === undefined)
        throw new Error(`cannot serve ${method} ${path}: it takes another protocol, and nothing answers that`)
    }
    const service: Service = { ...options, router: makeRouter(routes, options) }
    const waiting = new WaitingAnswers()
    const serve = entry(
      ({ socket }) => socket,
      (request: IncomingMessage, response: ServerResponse) => {
        waiting.note(request, response)
        return this.#underWay.add((leave) => answer(service, request, response, leave))
      },
    )
    this.#server = createServer(
      {
        headersTimeout: headersTimeoutMs,
        requestTimeout: options.requestTimeoutMs ?? 0,
        ...(checkIntervalMs === undefined ? {} : { connectionsCheckingInterval: checkIntervalMs }),
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
        // The guard refuses it with every other Host that is not ours.
        requireHostHeader: false,
      },
      serve,
    )
    if (maxConnections !== undefined) this.#server.maxConnections = maxConnections
    // Node would answer by itself, and nobody but Node would know that an answer is under way.
    this.#server.on('checkExpectation', serve)
    if (options.answerUpgrade !== undefined) this.#takeUpgrades(service, entry, options.answerUpgrade)
    this.#idle = trackIdle(this.#server, entry)
    this.#troubled = options.troubled
  }

  /** Resolves with the port in use. @throws the system's error when it cannot listen. */
  listen(place: Place): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(place, () => {
        this.#server.off('error', reject)
        this.#server.on('error', this.#troubled)
        const address = this.#server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : 0)
      })
    })
  }

  /** As {@link listen}, where there is more to it than a place. @throws what `bind` throws. */
  async listenBy(bind: (server: Server) => Promise<void>): Promise<void> {
    try {
      await bind(this.#server)
    } catch (error) {
      this.#server.close()
      throw error
    }
    this.#server.on('error', this.#troubled)
  }

  /**
   * Refuses new connections, ends what streams, lets other answers under way end for `graceMs`, and resolves when all
   * are closed and nothing that a request started is left.
   */
  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#idle) socket.destroy()
    const timer = setTimeout(() => this.#server.closeAllConnections(), graceMs)
    await Promise.all([this.#underWay.stop(), closed])
    clearTimeout(timer)
  }

  /** Closes every connection now. Resolves when the last is closed. */
  cut(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  #takeUpgrades(service: Service, entry: GuardedEntry, answer: typeof answerUpgrade): void {
    this.#server.on(
      'upgrade',
      entry(
        ({ socket }) => socket,
        (request: IncomingMessage, _socket: Duplex, head: Buffer) => {
          // It is not a connection of the server's any more.
          this.#idle.delete(request.socket)
          return this.#underWay.add((leave) => answer(service, request, head, leave))
        },
        'upgrade',
      ),
    )
  }
}
