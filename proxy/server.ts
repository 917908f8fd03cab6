import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Duplex } from 'node:stream'
import type { SecureContext } from 'node:tls'
import type { Config } from '../config/model/config.js'
import { entry, type Entry } from '../base/process/entry.js'
import { codeOf } from '../base/errors.js'
import { bindItself, type ListenAt } from '../base/process/held-listeners.js'
import type { Logger } from '../base/log/logger.js'
import { takeOver } from '../base/http/take-over.js'
import { WaitingAnswers } from '../base/http/waiting-answers.js'
import { basic, type ProxyAuth } from './credentials/auth.js'
import type { ResponseCache } from './cache/response-cache.js'
import { closeWith } from './message/close-with.js'
import { ConnectionCount } from './entry/connection-count.js'
import { serveConnect } from './entry/connect.js'
import { createDialGuard, lookupBy, type DialGuardDeps, type Resolve } from './policy/route-guard.js'
import { Exchanges, type ClientConnection } from './exchange/exchange.js'
import { exposedHosts, exposureFinding } from './credentials/exposure.js'
import { Upstream } from './upstream/upstream.js'
import { MAX_FIELDS } from './message/framing.js'
import { Gate } from './policy/gate.js'
import { Http2Front } from './entry/http2.js'
import { via } from './message/headers.js'
import { seconds } from './socket/idle-watch.js'
import { Interceptor } from './entry/intercept.js'
import { Listener, type ClientProtocol } from './entry/listener.js'
import type { Observations } from './policy/observations.js'
import { OwnAddresses } from './policy/own-addresses.js'
import { Pipeline } from './exchange/pipeline.js'
import type { AddressJudge } from './policy/policy.js'
import { Dialer } from './upstream/dialer.js'
import { compileParentProxy } from './upstream/parent-proxy.js'
import type { OverloadError } from './socket/overload.js'
import { refusalOf, renderRefusal } from './exchange/refusal.js'
import type { Secrets, WithheldSecrets } from './credentials/secrets.js'
import { compileSettings, type Settings } from './exchange/settings.js'
import { serveSocks5 } from './entry/socks5.js'
import type { ServerContexts } from './tls/contexts.js'
import { Traffic } from './exchange/traffic.js'
import { Minting } from './tls/minting.js'
import { leavesParser, serveUpgrade, withoutOffer } from './exchange/upgrade.js'
import { DeadWatch } from './watch/dead-watch.js'
import { inodeOf } from './watch/kernel-sockets.js'
import { OpenSockets } from './watch/open-sockets.js'

/** How often it is looked for clients that are slow with their headers. */
const HEADERS_LOOK_MS = 1_000
/** What is dead at two looks is let go of: within a minute and a half. */
const WATCH_MS = 30_000
/** Linux forgets a connection that its program has closed after 60 s (tcp_fin_timeout), and then answers with a reset. */
const HALF_CLOSED_PROBE_MS = 65_000
/** The SOCKS4 reply "request rejected". */
const SOCKS4_REJECTED = Buffer.from([0x00, 0x5b, 0, 0, 0, 0, 0, 0])
/** Somebody set an https:// address as proxy. A TLS alert (RFC 8446, 6.2: unexpected_message) is all it can read. */
const UNEXPECTED_TLS = Buffer.from([0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x0a])
/** RFC 1928, 3: no method is acceptable. */
const SOCKS5_REJECTED = Buffer.from([0x05, 0xff])

interface ProxyServerOptions {
  readonly config: Config
  /** Those of `config`, resolved. */
  readonly secrets: Secrets
  readonly contexts: ServerContexts
  /** What upstream servers are verified with. */
  readonly trust: SecureContext
  readonly cache: ResponseCache
  readonly resolve: Resolve
  /** Ports of Discobot's besides the proxy's own, which nobody may reach through the proxy. */
  readonly isOwnPort: (port: number) => boolean
  /** What the mode `observe` lets through. */
  readonly observations: Observations
  /** What the process can hold of connections; without bound unless given. */
  readonly connectionCeiling?: number
  /** Binds for itself unless given. */
  readonly listenAt?: ListenAt
  /** How often what is counted is held against what the kernel has, in milliseconds. */
  readonly watchMs?: number
  readonly logger: Logger
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** What a reload may replace while connections go on. */
interface Reconfiguration {
  readonly config: Config
  readonly secrets: Secrets
  readonly trust: SecureContext
}

/** The proxy port and everything behind it. */
export class ProxyServer {
  readonly traffic: Traffic
  readonly watch: DeadWatch
  readonly #listener: Listener
  readonly #sockets = new OpenSockets()
  readonly #http: HttpServer
  readonly #http2: Http2Front
  readonly #clients = new WeakMap<Duplex, ClientConnection>()
  readonly #pipelines = new WeakMap<Duplex, Pipeline>()
  readonly #logger: Logger
  readonly #hosts: readonly string[]
  readonly #pseudonym = `discobot-${randomBytes(4).toString('hex')}`
  readonly #guard: DialGuardDeps
  readonly #own = { user: 'discobot', password: randomBytes(24).toString('base64url') }
  #settings: Settings
  #withheld: WithheldSecrets | undefined
  #upstream: Upstream

  constructor(options: ProxyServerOptions) {
    this.#logger = options.logger
    this.traffic = new Traffic(options.now)
    this.#hosts = options.config.proxy.host
    this.#withheld = options.secrets.withheld
    this.#settings = compileSettings(options.config, options.secrets, this.#own, options.logger)
    const own = new OwnAddresses()
    this.#guard = {
      resolve: options.resolve,
      isOwnAddress: (address) => own.has(address),
      isOwnPort: (port) => port === this.port || options.isOwnPort(port),
    }
    this.#upstream = this.#createUpstream(options)
    const shared = {
      gate: new Gate({
        policy: () => this.#settings.policy,
        guard: createDialGuard(this.#guard),
        observations: options.observations,
      }),
      upstream: () => this.#upstream,
      settings: () => this.#settings,
      traffic: this.traffic,
      pseudonym: this.#pseudonym,
      logger: options.logger,
    }
    const exchanges = new Exchanges({
      ...shared,
      cache: options.cache,
      now: options.now,
    })
    this.#http = this.#createHttp(exchanges)
    this.#http2 = new Http2Front({
      exchanges,
      keepAliveMs: () => this.#settings.timeouts.keep_alive,
      logger: options.logger,
    })
    this.#limitClients()
    const interceptor = new Interceptor({
      ...shared,
      contexts: options.contexts,
      minting: new Minting({ limits: () => this.#settings.limits, now: options.now }),
      http: this.#http,
      http2: this.#http2,
      now: options.now,
      register: (inner, client) => this.#clients.set(inner, client),
    })
    this.#http.on(
      'connect',
      entry(this.#entered('CONNECT'), async (request, socket, head: Buffer) => {
        const client = this.#clientOf(request.socket)
        if (!(await takeOver(request.socket, () => cut(client)))) return
        if (client.tunnel !== undefined) {
          closeWith(
            socket,
            renderRefusal({ status: 405, type: 'http_request_denied', message: 'CONNECT inside a tunnel' }),
          )
          return
        }
        const { auth } = this.#settings
        await serveConnect(request, socket, head, interceptor, auth, this.#pseudonym, options.logger)
      }),
    )
    this.#listener = new Listener({
      hosts: options.config.proxy.host,
      port: options.config.proxy.port,
      listenAt: options.listenAt ?? bindItself,
      firstByteMs: () => this.#settings.timeouts.headers,
      logger: options.logger,
      count: new ConnectionCount({
        limits: () => this.#settings.limits,
        ceiling: options.connectionCeiling ?? Infinity,
      }),
      onExcess: (socket, protocol, why) => closeWith(socket, turnedAway(protocol, why)),
      onClient: {
        http: (socket) => {
          this.#clients.set(socket, { socket })
          this.#http.emit('connection', socket)
        },
        socks5: (socket) =>
          serveSocks5(socket, {
            handshakeMs: this.#settings.timeouts.headers,
            auth: this.#settings.auth,
            logger: options.logger,
            tunnel: async (client, target, accepted) => {
              await interceptor.admit(client, target)
              await interceptor.serve(client, target, 'SOCKS5', accepted)
            },
          }),
        socks4: (socket) => closeWith(socket, SOCKS4_REJECTED),
        tls: (socket) => closeWith(socket, UNEXPECTED_TLS),
      },
    })
    this.watch = this.#createWatch(options.logger, options.watchMs ?? WATCH_MS)
  }

  /** What we count, for the watch. */
  #createWatch(logger: Logger, intervalMs: number): DeadWatch {
    return new DeadWatch({
      intervalMs,
      sockets: { connection: () => this.#listener.sockets, upstream: () => this.#sockets },
      others: {
        request: () => this.traffic.countedRequests(),
        tunnel: () => this.traffic.countedTunnels(),
      },
      witness: () => this.#listener.server && inodeOf(this.#listener.server),
      logger,
    })
  }

  get port(): number {
    return this.#listener.port
  }

  /** `Proxy-Authorization` for ourselves as a client of our own port, where one is wanted. */
  get ownAuthorization(): string | undefined {
    return this.#settings.auth.isOn ? basic(this.#own) : undefined
  }

  /** What the operator should look at though nothing is broken. */
  findings(): readonly string[] {
    return [...this.#exposure(), ...this.watch.findings()]
  }

  #exposure(): readonly string[] {
    const exposed = this.#settings.auth.isOn ? [] : exposedHosts(this.#hosts, networkInterfaces())
    return exposed.length === 0 ? [] : [exposureFinding(exposed)]
  }

  /** In force: who may use the proxy. */
  get auth(): ProxyAuth {
    return this.#settings.auth
  }

  /** What addresses are judged with, besides the policy. */
  get guard(): DialGuardDeps {
    return this.#guard
  }

  /** In force: what judges the addresses of a name; undefined for one of which nothing may be had. */
  judgeName(host: string): AddressJudge | undefined {
    return this.#settings.policy.judgeName(host)
  }

  /** Undefined where all secrets are loaded. */
  get withheldSecrets(): WithheldSecrets | undefined {
    return this.#withheld
  }

  /** Of clients, open now. */
  get connections(): number {
    return this.#listener.connections
  }

  /** To upstream servers or by way of the upstream proxy, open now. */
  get upstreamConnections(): number {
    return this.#sockets.size
  }

  async start(): Promise<void> {
    await this.#listener.start()
    this.watch.start()
    this.#warn()
  }

  /** New requests follow `next`; those under way end as they began. */
  reconfigure(next: Reconfiguration): void {
    const former = this.#upstream
    this.#withheld = next.secrets.withheld
    this.#settings = compileSettings(next.config, next.secrets, this.#own, this.#logger)
    this.#upstream = this.#createUpstream(next)
    this.#limitClients()
    this.#warn()
    // Idle connections may lead to an address that is now forbidden.
    former.retire()
  }

  /**
   * Accepts nobody new, lets what is under way end, and cuts what is left after `graceMs`. Resolves when no
   * connection is left.
   */
  async stop(graceMs: number): Promise<void> {
    this.watch.stop()
    this.#listener.stop()
    this.#http.close()
    this.#http2.close()
    const deadline = performance.now() + graceMs
    while (this.#listener.connections > 0 && performance.now() < deadline) {
      this.#http.closeIdleConnections()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    if (this.#listener.connections > 0) {
      this.#logger.warn({ connections: this.#listener.connections }, 'cutting connections that did not end')
    }
    this.#listener.destroyAll()
    this.#upstream.close()
  }

  #createUpstream({ config, secrets, trust }: Reconfiguration): Upstream {
    const parent = compileParentProxy(config.upstream_proxy, secrets)
    if (parent === undefined) return new Upstream(trust, config.timeouts, this.#sockets)
    const isOurself = (address: string, port: number): boolean =>
      this.#guard.isOwnPort(port) && this.#guard.isOwnAddress(address)
    const limitMs = config.timeouts.connect
    const dialer = new Dialer({
      parent,
      via: via('1.1', this.#pseudonym),
      isOurself,
      limitMs,
      sockets: this.#sockets,
      lookup: lookupBy(this.#guard.resolve),
    })
    return new Upstream(trust, config.timeouts, this.#sockets, dialer)
  }

  #createHttp(exchanges: Exchanges): HttpServer {
    const http = createServer({
      requestTimeout: 0,
      connectionsCheckingInterval: HEADERS_LOOK_MS,
      // It would answer such a request by itself, and nobody but Node would know that an answer is under way.
      requireHostHeader: false,
      ...{ shouldUpgradeCallback: leavesParser },
    })
    // One more than is served: so it shows. Node drops what is beyond that, and from 24 on refuses it by itself.
    http.maxHeadersCount = MAX_FIELDS + 1
    // RFC 9110, 9.3.6 and RFC 9112, 9.6 let either side end first: who has asked may have nothing more to say. Missing
    // from Node's types.
    Object.assign(http, { httpAllowHalfOpen: true })
    const waiting = new WaitingAnswers()
    const serve = entry(
      { name: 'HTTP', logger: this.#logger, ends: ({ socket }) => socket },
      (request: IncomingMessage, response: ServerResponse) => {
        waiting.note(request, response)
        const admitted = this.#pipelineOf(request.socket).admits(request, response)
        if (admitted === false) return
        const turn = admitted === true ? undefined : admitted
        return exchanges.serve(request, response, this.#clientOf(request.socket), turn)
      },
    )
    http.on('request', serve)
    // Expect is upstream's to answer.
    http.on('checkContinue', serve)
    http.on('checkExpectation', serve)
    http.on(
      'upgrade',
      entry(this.#entered('Upgrade'), async (request, socket, head: Buffer) => {
        socket.on('error', () => socket.destroy())
        const client = this.#clientOf(request.socket)
        if (!(await takeOver(request.socket, () => cut(client)))) return
        const plain = withoutOffer(request, head)
        if (plain === undefined) return serveUpgrade(request, socket, head, client, exchanges)
        socket.unshift(plain)
        http.emit('connection', socket)
      }),
    )
    http.on(
      'clientError',
      entry(
        { name: 'what is no HTTP', logger: this.#logger, ends: (_error, socket) => socket },
        (error: Error, socket: Socket) => this.#refuseMalformed(error, socket),
      ),
    )
    // This server listens on nothing: sockets are handed to it. Without the event it would not look for
    // clients that are slow with their headers.
    http.emit('listening')
    return http
  }

  /** The events by which a connection stops being Node's; they name its socket, which a stream of Node's may hide. */
  #entered(name: string): Entry<[request: IncomingMessage, socket: Socket, head: Buffer]> {
    return { name, logger: this.#logger, ends: ({ socket }) => socket }
  }

  #refuseMalformed(error: Error, socket: Duplex): void {
    // Told already, and reading it; what else it sends is no news.
    if (socket.writableEnded && codeOf(error) !== 'ECONNRESET') return
    if (!socket.writable || codeOf(error) === 'ECONNRESET') {
      socket.destroy()
      return
    }
    const [status, message] = malformedAnswer(codeOf(error) ?? '', this.#settings)
    const refusal = { status, type: 'http_request_error', message }
    const pipeline = this.#pipelines.get(socket)
    if (pipeline === undefined) closeWith(socket, renderRefusal(refusal))
    else pipeline.refuse(socket, refusal)
  }

  #warn(): void {
    for (const finding of this.#exposure()) this.#logger.warn({ finding }, 'open to others')
    if (this.#withheld === undefined) return
    const { names, reason } = this.#withheld
    this.#logger.warn(
      { names: names.join(','), reason },
      'secrets withheld; requests that need one are refused',
    )
  }

  /** Node reads these anew for each connection. */
  #limitClients(): void {
    const { headers, keep_alive } = this.#settings.timeouts
    this.#http.headersTimeout = headers
    this.#http.keepAliveTimeout = keep_alive
    const { header_bytes } = this.#settings.limits
    // Missing from Node's types.
    Object.assign(this.#http, { maxHeaderSize: header_bytes })
    this.#http2.limitHeaders(header_bytes)
  }

  #clientOf(socket: Socket): ClientConnection {
    return this.#clients.get(socket) ?? { socket }
  }

  #pipelineOf(socket: Socket): Pipeline {
    const known = this.#pipelines.get(socket)
    if (known !== undefined) return known
    const pipeline = new Pipeline(this.#clientOf(socket))
    this.#pipelines.set(socket, pipeline)
    socket.once('end', () => {
      pipeline.halfClosed()
      // For those of HTTP/1.0, and in the middle of an answer.
      this.#clientOf(socket).socket.setKeepAlive(true, HALF_CLOSED_PROBE_MS)
    })
    return pipeline
  }
}

/** Below TLS, so that the part of an answer that is out does not pass for the whole. */
function cut({ socket }: ClientConnection): void {
  socket.resetAndDestroy()
}

function malformedAnswer(code: string, { timeouts, limits }: Settings): [status: number, message: string] {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return [
        431,
        `cannot read the request: its headers are larger than ${limits.header_bytes / 1024} KiB, or more than ${MAX_FIELDS}`,
      ]
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return [413, 'cannot read the request: its chunk extensions are larger than 16 KiB']
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return [408, `cannot read the request: its headers took longer than ${seconds(timeouts.headers)}`]
    default:
      return [400, `cannot read the request: it is not valid HTTP (${code})`]
  }
}

function turnedAway(protocol: ClientProtocol, why: OverloadError): string | Buffer {
  switch (protocol) {
    case 'http':
      return renderRefusal(refusalOf(why, 'the target'))
    case 'socks5':
      return SOCKS5_REJECTED
    case 'socks4':
      return SOCKS4_REJECTED
    case 'tls':
      return UNEXPECTED_TLS
  }
}
