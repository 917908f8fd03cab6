import { constants } from 'node:http2'
import type { Socket } from 'node:net'
import { connect, type SecureContext, type TLSSocket } from 'node:tls'
import { LRUCache } from 'lru-cache'
import type { TimeoutsSection } from '../../config/model/config.js'
import { closedEarly, limitSecuring } from '../socket/connect-limit.js'
import type { Route } from '../policy/route-guard.js'
import { isRepeatable } from '../message/repeatable.js'
import { keepAlive } from '../socket/keep-alive.js'
import type { Target } from '../../base/net/target.js'
import type { OpenSockets } from '../watch/open-sockets.js'
import type { Http2Answer } from './answer.js'
import { StreamResetError } from '../h2/stream-error.js'
import { UploadBody } from '../h2/upload-body.js'
import { UpstreamSession, type Http2Outgoing } from './upstream-session.js'

// us → upstream over HTTP/2, where both sides want it

/** A request that was refused untouched is sent again this often, then the refusal is passed on. */
const MAX_ATTEMPTS = 3
/** What a server speaks changes when it is upgraded; until then, asking costs a handshake. */
const REMEMBER_MS = 10 * 60_000
const MAX_REMEMBERED = 1_000

/** Connections to one authority. */
interface Place {
  readonly sessions: Set<UpstreamSession>
  connecting: Promise<UpstreamSession | undefined> | undefined
}

interface UpstreamPoolOptions {
  /** What upstream certificates are verified with. */
  readonly trust: SecureContext
  readonly timeouts: TimeoutsSection
  /** Takes down every connection that is made. */
  readonly sockets: OpenSockets
  /** A connection by way of the upstream proxy; undefined where there is none on the way. */
  readonly tunnel: (route: Route) => Promise<Socket | undefined>
  /** Takes a connection that was made for HTTP/2 to a server that wants HTTP/1.1. */
  readonly spare: (route: Route, socket: TLSSocket) => void
}

/** HTTP/2 connections: one an authority, and more only while all are as full as their server allows. */
export class UpstreamPool {
  readonly #options: UpstreamPoolOptions
  readonly #places = new Map<string, Place>()
  readonly #speaks = new LRUCache<string, 'http/1.1' | 'h2'>({ max: MAX_REMEMBERED, ttl: REMEMBER_MS })
  #closed = false

  constructor(options: UpstreamPoolOptions) {
    this.#options = options
  }

  /** Whether the server is known to refuse HTTP/1.1. */
  mustServe({ authority }: Target): boolean {
    return this.#speaks.get(authority) === 'h2'
  }

  /** Notes that the server refuses HTTP/1.1. */
  insistsOn({ authority }: Target): void {
    this.#speaks.set(authority, 'h2')
  }

  /**
   * Sends a request; resolves with the head of the answer, or with undefined, nothing having been sent, where
   * the server wants HTTP/1.1.
   *
   * @throws StreamResetError, or what kept the connection from being had.
   */
  send(outgoing: Http2Outgoing): Promise<Http2Answer | undefined> {
    if (outgoing.body === undefined) return this.#send(outgoing, undefined)
    const upload = new UploadBody(outgoing.body)
    return this.#send(outgoing, upload).finally(() => upload.over())
  }

  async #send(outgoing: Http2Outgoing, upload: UploadBody | undefined): Promise<Http2Answer | undefined> {
    for (let attempt = 1; ; attempt += 1) {
      const session = await this.#session(outgoing.route)
      outgoing.signal.throwIfAborted()
      if (session === undefined) {
        if (upload?.isUntouched !== false) return undefined
        throw new StreamResetError(constants.NGHTTP2_HTTP_1_1_REQUIRED)
      }
      const result = await session.send(outgoing, upload)
      if ('statusCode' in result) return result
      const again = result.again === 'any' || (result.again === 'repeatable' && isRepeatable(outgoing))
      if (!again || upload?.isWhole === false) throw result.error
      if (attempt === MAX_ATTEMPTS || outgoing.signal.aborted) throw result.error
    }
  }

  /** Requests under way end as they began; then their connections do. */
  close(): void {
    this.#closed = true
    for (const { sessions } of this.#places.values()) {
      for (const session of sessions) session.retire()
    }
  }

  async #session(route: Route): Promise<UpstreamSession | undefined> {
    const { authority } = route.target
    for (;;) {
      if (this.#speaks.get(authority) === 'http/1.1') return undefined
      const place = this.#place(authority)
      const free = [...place.sessions].find((session) => session.free && route.admits(session.address))
      if (free !== undefined) return free
      const mine = place.connecting === undefined
      place.connecting ??= this.#connect(route, place).finally(() => {
        place.connecting = undefined
        this.#drop(authority, place)
      })
      const made = await place.connecting
      // Those who waited along may have filled it up by now; who asked for it has its place.
      if (made === undefined || mine) return made
    }
  }

  async #connect(route: Route, place: Place): Promise<UpstreamSession | undefined> {
    const { target } = route
    const { trust, timeouts, tunnel, sockets } = this.#options
    const socket = await handshake(route, await tunnel(route), trust, timeouts.connect, sockets)
    if (socket.alpnProtocol !== 'h2') {
      this.#speaks.set(target.authority, 'http/1.1')
      this.#options.spare(route, socket)
      return undefined
    }
    const session = new UpstreamSession(target.authority, socket, timeouts, () => {
      place.sessions.delete(session)
      this.#drop(target.authority, place)
    })
    place.sessions.add(session)
    await session.ready
    // The request that waits for it goes first.
    if (this.#closed) setImmediate(() => session.retire())
    return session
  }

  #place(authority: string): Place {
    const known = this.#places.get(authority)
    if (known !== undefined) return known
    const place: Place = { sessions: new Set(), connecting: undefined }
    this.#places.set(authority, place)
    return place
  }

  #drop(authority: string, place: Place): void {
    if (place.sessions.size === 0 && place.connecting === undefined) this.#places.delete(authority)
  }
}

/** @throws what kept the connection from being had. */
function handshake(
  { target, lookup }: Route,
  socketBelow: Socket | undefined,
  trust: SecureContext,
  limitMs: number,
  sockets: OpenSockets,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: target.host,
      port: target.port,
      lookup,
      ...(socketBelow === undefined ? {} : { socket: socketBelow }),
      // RFC 6066, 3: no server name for addresses.
      servername: target.isAddress ? '' : target.host,
      secureContext: trust,
      ALPNProtocols: ['h2', 'http/1.1'],
      rejectUnauthorized: true,
    })
    if (socketBelow === undefined) sockets.add(socket)
    socket.setNoDelay(true)
    keepAlive(socket)
    limitSecuring(socket, limitMs)
    socket.on('error', reject)
    // Cut below TLS, it closes without an error.
    socket.once('close', () => reject(closedEarly()))
    socket.once('secureConnect', () => resolve(socket))
  })
}
