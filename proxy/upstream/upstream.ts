import {
  type Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect as netConnect, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import type { SecureContext } from 'node:tls'
import { codeOf, reasonOf } from '../../base/errors.js'
import { settleBlanks } from './answer-blanks.js'
import type { TimeoutsSection } from '../../config/model/config.js'
import { limitConnecting } from '../socket/connect-limit.js'
import type { Route } from '../policy/route-guard.js'
import { MAX_FIELDS, assertAnswerFraming, tooManyTrailers } from '../message/framing.js'
import { SpareAgent } from './spare-agent.js'
import { UpstreamPool } from './upstream-pool.js'
import { PlainAgent } from './plain-agent.js'
import { basic } from '../credentials/auth.js'
import { connectRefused } from './connect-handshake.js'
import { assertName, type Dialer } from './dialer.js'
import { headerValue, pairs, type RawHeaders } from '../message/headers.js'
import { keepNone, leaveForbidden, onNewConnection } from './idle-connections.js'
import { IdleError, watchIdle } from '../socket/idle-watch.js'
import { informationalLimit } from './informational.js'
import { KEEP_ALIVE, PROBE_AFTER_MS, keepAlive } from '../socket/keep-alive.js'
import type { UpstreamMessage } from '../message/message.js'
import { logsConnectionIn, OwnConnections } from './own-connections.js'
import { isRepeatable } from '../message/repeatable.js'
import type { Target } from '../../base/net/target.js'
import type { OpenSockets } from '../watch/open-sockets.js'

// us → upstream: pooled connections, verified TLS, guarded dialing.

/** Upstream servers commonly keep idle connections for 60 s or more; ours end first, so that few are stale. */
const IDLE_LIMIT_MS = 30_000
const MAX_IDLE_PER_HOST = 32
/** RFC 8305, 5: the next address is tried when one has not answered for 250 ms; of the last one we wait on. */
const HAPPY_EYEBALLS = { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 250 }
const MAX_RESPONSE_HEADER_BYTES = 64 * 1024

interface Outgoing {
  readonly route: Route
  /** The connection of whoever asks, to which a login may belong. */
  readonly client: Socket
  readonly scheme: 'http' | 'https'
  readonly method: string
  /** Origin form. */
  readonly path: string
  /** Complete, `Host` and framing included. */
  readonly headers: RawHeaders
  /** The client speaks HTTP/2: so do we, where the server offers it. See docs/decisions/0006. */
  readonly http2: boolean
  /** Whether the client reads trailers. */
  readonly trailers: boolean
  /** Absent where the request has no body. */
  readonly body?: Readable
  readonly signal: AbortSignal
  /** 1xx answers on the way, for the client that waits for them. */
  readonly onInformation?: (status: number, headers: RawHeaders) => void
}

/** What upstream answered: a message, or the connection itself when it agreed to switch protocols. */
export type Answer =
  | { readonly kind: 'response'; readonly message: UpstreamMessage }
  | {
      readonly kind: 'upgraded'
      readonly message: IncomingMessage
      readonly socket: Socket
      readonly head: Buffer
    }

export class Upstream {
  readonly #http: HttpAgent
  readonly #https: SpareAgent
  readonly #http2: UpstreamPool
  readonly #own = new OwnConnections<PlainAgent | SpareAgent>()
  readonly #makeOwn: (scheme: Outgoing['scheme']) => PlainAgent | SpareAgent
  #closed = false
  readonly #timeouts: TimeoutsSection
  readonly #dialer: Dialer | undefined
  readonly #sockets: OpenSockets

  /**
   * @param trust what upstream certificates are verified with.
   * @param sockets takes down every connection that is made.
   * @param dialer by way of the operator's own proxy, where there is one.
   */
  constructor(trust: SecureContext, timeouts: TimeoutsSection, sockets: OpenSockets, dialer?: Dialer) {
    this.#sockets = sockets
    this.#dialer = dialer
    this.#timeouts = timeouts
    const pool = {
      ...HAPPY_EYEBALLS,
      ...KEEP_ALIVE,
      // When a connection becomes idle the agent sets this anew; Node sees that nothing changes.
      keepAliveMsecs: PROBE_AFTER_MS,
      maxFreeSockets: MAX_IDLE_PER_HOST,
      timeout: IDLE_LIMIT_MS,
    }
    const secure = { secureContext: trust, ALPNProtocols: ['http/1.1'], rejectUnauthorized: true }
    this.#http = new PlainAgent(pool, sockets)
    this.#https = new SpareAgent({ ...pool, ...secure }, timeouts.connect, sockets)
    // Its login is lost with the connection, so it ends with the client's and not before.
    const one = { ...HAPPY_EYEBALLS, ...KEEP_ALIVE, keepAliveMsecs: PROBE_AFTER_MS, maxSockets: 1 }
    this.#makeOwn = (scheme) =>
      scheme === 'https'
        ? new SpareAgent({ ...one, ...secure }, timeouts.connect, sockets)
        : new PlainAgent(one, sockets)
    this.#http2 = new UpstreamPool({
      sockets,
      trust,
      timeouts,
      tunnel: (route) => this.#tunnel(route),
      spare: (route, socket) => this.#https.give(route.lookup, socket),
    })
  }

  /** Sends a request; resolves with the head of the answer. Rejects with what kept it from being had. */
  async send(outgoing: Outgoing): Promise<Answer> {
    const { target } = outgoing.route
    const own = this.#ownOf(outgoing)
    for (;;) {
      // A connection made now would be nobody's to close.
      if (this.#closed) throw new Error('the proxy is stopping')
      const wantsHttp2 = (own === undefined && outgoing.http2) || this.#http2.mustServe(target)
      if (outgoing.scheme === 'https' && wantsHttp2) {
        const route = this.#dialer === undefined ? outgoing.route : throughProxy(outgoing.route)
        const message = await this.#http2.send({ ...outgoing, route })
        if (message !== undefined) return { kind: 'response', message }
      }
      const handedOn = this.#handsOn(outgoing)
      if (handedOn !== undefined) await assertName(outgoing.route)
      const { request, answer } = this.#open(outgoing, handedOn, own)
      try {
        return await answer
      } catch (error) {
        if (refusesHttp1(error) && !this.#http2.mustServe(target) && !readFrom(outgoing.body)) {
          this.#http2.insistsOn(target)
          continue
        }
        // An idle connection the server closed while we wrote to it (RFC 9112, 9.3.1). The pool drops it, so
        // this ends at the latest when a new connection is made.
        const stale = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(codeOf(error) ?? '')
        if (!stale || !isRepeatable(outgoing) || outgoing.signal.aborted) throw error
      }
    }
  }

  /** Whether the client has logged a connection to there in, or does so with these headers. */
  hasLogin(client: Socket, scheme: 'http' | 'https', target: Target, headers: RawHeaders): boolean {
    return this.#own.find(client, scheme, target) !== undefined || logsConnectionIn(headers)
  }

  /** A plain connection for a raw tunnel. */
  async connect(route: Route): Promise<Socket> {
    return (await this.#tunnel(route)) ?? this.#dial(route)
  }

  /** Undefined where there is no upstream proxy on the way. */
  async #tunnel(route: Route): Promise<Socket | undefined> {
    return this.#dialer?.tunnel(route)
  }

  #dial(route: Route): Promise<Socket> {
    const { host, port } = route.target
    return new Promise((resolve, reject) => {
      const socket = netConnect({
        ...HAPPY_EYEBALLS,
        host,
        port,
        lookup: route.lookup,
        ...KEEP_ALIVE,
        allowHalfOpen: true,
        noDelay: true,
      })
      this.#sockets.add(socket)
      limitConnecting(socket, 'connect', this.#timeouts.connect)
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        // Between this moment and the splice a reset must not be an uncaught error.
        socket.on('error', () => socket.destroy())
        resolve(socket)
      })
    })
  }

  /** Ends idle connections at once, and those in use as soon as their requests have ended. */
  retire(): void {
    for (const agent of [this.#http, this.#https]) keepNone(agent)
    this.#own.retire()
  }

  /** Ends all connections, those in use too. */
  close(): void {
    this.#closed = true
    this.#http.destroy()
    this.#https.destroy()
    this.#own.close()
    this.#http2.close()
  }

  /** What leads over the client's own connection, where a login belongs to that. */
  #ownOf({ client, route: { target }, scheme, headers }: Outgoing): PlainAgent | SpareAgent | undefined {
    if (!logsConnectionIn(headers)) return this.#own.find(client, scheme, target)
    return this.#own.take(client, scheme, target, () => this.#makeOwn(scheme))
  }

  /** The upstream proxy, where it is given the request itself instead of being asked for a connection. */
  #handsOn({ scheme, route, headers }: Outgoing): Dialer | undefined {
    const parent = this.#dialer?.parent
    // Many proxies refuse CONNECT to port 80, and few take an upgrade otherwise.
    const mayBe = parent?.protocol === 'http' && parent.resolvesNames && scheme === 'http'
    if (!mayBe || parent.bypasses(route.target)) return undefined
    return headerValue(headers, 'upgrade') === undefined ? this.#dialer : undefined
  }

  #open(
    outgoing: Outgoing,
    handedOn: Dialer | undefined,
    own: PlainAgent | SpareAgent | undefined,
  ): { request: ClientRequest; answer: Promise<Answer> } {
    const { route, scheme, signal, body } = outgoing
    const { host, port, isAddress } = route.target
    const headers = [...outgoing.headers]
    const options = {
      agent: own ?? (scheme === 'https' ? this.#https : this.#http),
      host,
      port,
      method: outgoing.method,
      path: outgoing.path,
      headers,
      setHost: false,
      lookup: route.lookup,
      ...(this.#dialer === undefined ? {} : { tunnel: () => this.#tunnel(route) }),
      signal,
      maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
    }
    leaveForbidden(options.agent, this.#dialer === undefined ? route : throughProxy(route))
    if (handedOn !== undefined) handOn(options, handedOn, route.target.authority)
    const make = (): ClientRequest =>
      scheme === 'https'
        ? // RFC 6066, 3: no server name for addresses. Never derived from a header.
          httpsRequest({ ...options, servername: isAddress ? '' : host })
        : httpRequest(options)
    // Upstream may be closing an idle connection at this moment, and nobody could tell whether it has acted on a
    // request that was lost there. See docs/decisions/0013.
    const mayBeKept = own !== undefined || isRepeatable(outgoing)
    const request = mayBeKept ? make() : onNewConnection(options.agent, options, make)
    // Bounded by their size. Node would drop what is beyond a thousand, or from 24 on the whole answer.
    request.maxHeadersCount = 0
    // Written out by now. A pooled connection keeps the options of the request it was opened for, and would so
    // keep the secrets in its headers.
    headers.length = 0
    request.once('socket', (socket) => {
      limitConnecting(socket, scheme === 'https' ? 'secureConnect' : 'connect', this.#timeouts.connect)
      if (scheme === 'https' && !request.reusedSocket) keepAlive(socket)
    })

    settleBlanks(request)

    const { onInformation } = outgoing
    const countInformational = informationalLimit()
    const answer = new Promise<Answer>((resolve, reject) => {
      request.on('error', reject)
      request.on('information', ({ statusCode, rawHeaders }) => {
        const tooMany = countInformational()
        if (tooMany === undefined) return onInformation?.(statusCode, rawHeaders)
        // At once: the answer may be in the same packet, and its event comes before that of the error.
        reject(tooMany)
        request.destroy()
      })
      request.once('response', (message) => {
        // RFC 9110, 15.5.8: not from an origin, so it is for us.
        if (handedOn !== undefined && message.statusCode === 407) {
          reject(connectRefused(handedOn.parent, 407, message.statusMessage ?? ''))
          message.destroy()
          return
        }
        try {
          assertAnswerFraming(message.rawHeaders)
          resolve({ kind: 'response', message })
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)))
          request.destroy()
        }
      })
      request.once('upgrade', (message, socket: Socket, head) => {
        socket.on('error', () => socket.destroy())
        // From now on each side ends by itself, as in any tunnel; the agent's sockets would end both at once.
        socket.allowHalfOpen = true
        resolve({ kind: 'upgraded', message, socket, head })
      })
    })
    limitIdling(request, body, this.#timeouts.idle)
    if (body === undefined) request.end()
    else whenConnected(request, () => sendBody(body, request))
    return { request, answer }
  }
}

/** An idle connection shows the upstream proxy's address: where rules judge addresses, none is used again. */
function throughProxy(route: Route): Route {
  return { ...route, admits: () => !route.judgesAddresses }
}

/** RFC 9112, 3.2.2: the request as a proxy takes it, on a connection to that proxy. */
function handOn(
  options: {
    host: string
    port: number
    path: string
    headers: string[]
    tunnel?: () => Promise<Socket | undefined>
  },
  dialer: Dialer,
  authority: string,
): void {
  const { host, port, credentials } = dialer.parent
  options.host = host
  options.port = port
  options.path = `http://${authority}${options.path}`
  options.tunnel = () => dialer.reach()
  const shown = credentials()
  if (shown !== undefined) options.headers.push('Proxy-Authorization', basic(shown))
}

/** A body is not touched before there is a connection: until then the request can be sent in another way. */
function whenConnected(request: ClientRequest, then: () => void): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) then()
    else socket.once('encrypted' in socket ? 'secureConnect' : 'connect', then)
  })
}

/** RFC 7301, 3.2: the alert of a server whose ALPN has HTTP/2 only. */
function refusesHttp1(error: unknown): boolean {
  // As EPROTO where the alert is met by a write.
  return /no[ _]application[ _]protocol/i.test(`${codeOf(error) ?? ''} ${reasonOf(error)}`)
}

function readFrom(body: Readable | undefined): boolean {
  return body?.readableDidRead ?? false
}

/** The body goes out as fast as upstream takes it; a client that leaves in the middle cuts the request. */
function sendBody(body: Readable, request: ClientRequest): void {
  body.once('end', () => {
    if ('rawTrailers' in body && Array.isArray(body.rawTrailers) && body.rawTrailers.length > 0) {
      if (body.rawTrailers.length / 2 > MAX_FIELDS) {
        request.destroy(tooManyTrailers())
        return
      }
      request.addTrailers(pairs(body.rawTrailers as string[]))
    }
    request.end()
  })
  body.pipe(request, { end: false })
  body.once('close', () => {
    if (!body.readableEnded) request.destroy()
  })
  // Upstream wants no more of it. Left unread, it would keep the client from sending its next request.
  request.once('close', () => {
    body.unpipe(request)
    body.resume()
  })
}

/** From the connection to the last byte: while an answer is waited for as well as in its body. */
function limitIdling(request: ClientRequest, body: Readable | undefined, limitMs: number): void {
  let answer: IncomingMessage | undefined
  request.once('response', (message) => (answer = message))
  request.once('socket', (socket) => {
    const stop = watchIdle({
      limitMs,
      progress: () => socket.bytesRead + socket.bytesWritten,
      onIdle() {
        const error = new IdleError(waitsForClient(body, socket) ? 'client' : 'upstream', limitMs)
        // Destroying the request would say only that the answer was aborted.
        if (answer === undefined) request.destroy(error)
        else answer.destroy(error)
      },
    })
    request.once('close', stop)
  })
}

/** An upload of which nothing more has come, though upstream would take it. */
function waitsForClient(body: Readable | undefined, socket: Socket): boolean {
  return body !== undefined && !body.readableEnded && body.readableLength === 0 && !socket.writableNeedDrain
}
