import type { Server as HttpServer } from 'node:http'
import type { Socket } from 'node:net'
import type { Transform } from 'node:stream'
import { TLSSocket, type SecureContext } from 'node:tls'
import { entry } from '../../base/process/entry.js'
import { reasonOf } from '../../base/errors.js'
import { canonicalHost } from '../../base/net/host-name.js'
import type { Logger } from '../../base/log/logger.js'
import { addressOf } from '../message/client-address.js'
import { closeWith } from '../message/close-with.js'
import type { ClientConnection } from '../exchange/exchange.js'
import type { Upstream } from '../upstream/upstream.js'
import type { Admission, Gate } from '../policy/gate.js'
import { HandshakeLog } from './handshake-log.js'
import { judgeOpening, watchOpening } from './passthrough.js'
import { openingGuard } from './opening-guard.js'
import { peek } from '../socket/peek.js'
import type { TunnelContext } from '../message/request-target.js'
import type { Settings } from '../exchange/settings.js'
import type { Target } from '../../base/net/target.js'
import type { ServerContexts } from '../tls/contexts.js'
import { readClientHello } from '../tls/client-hello.js'
import type { Minting } from '../tls/minting.js'
import type { Traffic } from '../exchange/traffic.js'
import { splice } from '../socket/tunnel.js'
import { countFlow, TunnelLog, type Flowed, type TunnelMethod } from '../socket/tunnel-log.js'
import { tunnelProtocol, type TunnelProtocol } from './tunnel-protocol.js'

// client → tunnel (CONNECT or SOCKS) → TLS ended here, plain HTTP, or raw bytes to upstream

/** What is asked for there speaks TLS, or is refused. */
const HTTPS_PORT = 443
/** After this silence the server may be the one that speaks first (SSH, SMTP): ask it. */
const SERVER_FIRST_MS = 300
const UNSAID = 'the client did not say what it speaks'

interface InterceptDeps {
  readonly gate: Gate
  readonly upstream: () => Upstream
  readonly settings: () => Settings
  readonly contexts: ServerContexts
  /** Judges the contexts that have to be made. */
  readonly minting: Minting
  /** Serves the requests inside tunnels. */
  readonly http: HttpServer
  /** Remembers what a connection handed to `http` belongs to. */
  readonly register: (inner: Socket, client: ClientConnection) => void
  /** Serves the connections of clients that chose HTTP/2. */
  readonly http2: { accept(inner: TLSSocket, client: ClientConnection): void }
  readonly traffic: Traffic
  readonly logger: Logger
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** An upstream connection for bytes that nobody looks into. */
interface Dialled {
  readonly server: Socket
  readonly admission: Admission
  readonly flow: () => Flowed
}

export class Interceptor {
  readonly #deps: InterceptDeps

  constructor(deps: InterceptDeps) {
    this.#deps = deps
  }

  /**
   * Asks the policy before anything is accepted, for protocols that can say no by themselves.
   *
   * @throws BlockedError, DialForbiddenError or ResolveError
   */
  async admit(socket: Socket, target: Target): Promise<void> {
    const { gate } = this.#deps
    const { route, byAddress } = gate.admit(target, { kind: 'tunnel' }, socket)
    if (byAddress || gate.judgesAddresses) await route.check()
  }

  /**
   * Serves a tunnel to `target`. `accepted` is called when the client may speak.
   *
   * Hosts that pass through are dialled before that, so that a failure can still be said in the tunnel's own
   * protocol. All others are accepted first: what the client says decides what happens, and what is wrong is
   * answered inside, over the client's own TLS.
   *
   * @throws what keeps the tunnel from being opened; never after `accepted`.
   */
  async serve(socket: Socket, target: Target, method: TunnelMethod, accepted: () => void): Promise<void> {
    const { gate, logger, now } = this.#deps
    const log = new TunnelLog(logger, now, method, target, socket)
    gate.assertTunnelPort(target)
    if (gate.passesThrough(target)) {
      const dialled = await this.#dial(socket, target)
      gate.record(dialled.admission)
      accepted()
      await this.#passThrough(socket, dialled, target, log)
      return
    }
    if (!this.#deps.contexts.has(target.host)) this.#deps.minting.assertLeft(addressOf(socket))
    accepted()
    // A certificate takes about a millisecond, in which the client begins its handshake.
    if (target.port === HTTPS_PORT) this.#contextFor(target.host, socket, this.#deps.contexts)
    const protocol = await this.#protocolOf(socket, target, log)
    if (protocol === 'served') return
    switch (protocol) {
      case undefined:
        log.closed(undefined, UNSAID)
        socket.destroy()
        return
      case 'tls':
        await this.#endTls(socket, target)
        return
      case 'http':
        this.#handOn(socket, { socket, tunnel: { target, secure: false } })
        return
      case 'raw':
        await this.#tunnelRaw(socket, target, log)
    }
  }

  /** What the client speaks. While it is silent, upstream is asked whether it speaks first. */
  async #protocolOf(
    socket: Socket,
    target: Target,
    log: TunnelLog,
  ): Promise<TunnelProtocol | 'served' | undefined> {
    const looking = new AbortController()
    const { classify, undecided } = watchOpening(tunnelProtocol)
    const spoken = peek(socket, classify, this.#deps.settings().timeouts.headers, looking.signal)
    const first = await Promise.race([spoken, silence(SERVER_FIRST_MS)])
    if (first !== 'silent') return first
    const dialled = await this.#dial(socket, target).catch(() => undefined)
    if (dialled === undefined) return spoken
    const { server, admission } = dialled
    const serverSpoke = new Promise<'server'>((resolve) => server.once('readable', () => resolve('server')))
    const speaker = await Promise.race([spoken, serverSpoke, undecided])
    if (speaker !== 'server' && speaker !== 'undecided') {
      server.destroy()
      return speaker
    }
    looking.abort()
    await spoken
    this.#deps.gate.record(admission)
    await this.#splice(socket, dialled, log, speaker === 'undecided' ? openingGuard() : undefined)
    return 'served'
  }

  async #passThrough(socket: Socket, dialled: Dialled, target: Target, log: TunnelLog): Promise<void> {
    const { server } = dialled
    const opening = await judgeOpening(socket, server, target, this.#deps.settings().timeouts.headers, log)
    switch (opening) {
      case 'join':
      case 'undecided':
        await this.#splice(socket, dialled, log, opening === 'undecided' ? openingGuard() : undefined)
        return
      case 'http':
        server.destroy()
        this.#handOn(socket, { socket, tunnel: { target, secure: false } })
        return
      case 'refused':
        server.destroy()
    }
  }

  async #tunnelRaw(socket: Socket, target: Target, log: TunnelLog): Promise<void> {
    let dialled: Dialled
    try {
      dialled = await this.#dial(socket, target)
      this.#deps.gate.record(dialled.admission)
    } catch (error) {
      log.closed(undefined, reasonOf(error))
      socket.resetAndDestroy()
      return
    }
    await this.#splice(socket, dialled, log)
  }

  async #splice(socket: Socket, { server, flow }: Dialled, log: TunnelLog, guard?: Transform): Promise<void> {
    const ended = this.#deps.traffic.tunnel(socket, server)
    const { idle } = this.#deps.settings().timeouts
    const problem = await splice(socket, server, idle, socket, guard).finally(ended)
    log.closed(flow(), problem)
  }

  /** For bytes that nobody looks into. */
  async #dial(socket: Socket, target: Target): Promise<Dialled> {
    const admission = this.#deps.gate.admit(target, { kind: 'raw' }, socket)
    const server = await this.#deps.upstream().connect(admission.route)
    // Before anybody reads: a server that speaks first has perhaps begun.
    return { server, admission, flow: countFlow(server) }
  }

  async #endTls(socket: Socket, target: Target): Promise<void> {
    const { logger } = this.#deps
    const log = new HandshakeLog(logger, target.authority)
    const hello = await peek(socket, readClientHello, this.#deps.settings().timeouts.headers)
    if (hello === undefined) {
      if (socket.destroyed || socket.readableEnded) log.closed(false, false)
      else log.late()
      socket.destroy()
      return
    }
    // A hello that cannot be read is for TLS itself to answer.
    const takesEcdsa = hello === 'malformed' || hello.takesEcdsa
    const contexts = takesEcdsa ? this.#deps.contexts : await this.#deps.contexts.forRsa()
    const secureContext = this.#contextFor(target.host, socket, contexts)
    if (secureContext === undefined) {
      // Said by `serve` already, unless others were faster: RFC 8446, 6.2, internal_error.
      closeWith(socket, Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50]))
      return
    }
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext,
      ALPNProtocols: ['h2', 'http/1.1'],
      // A name that is not the tunnel's gets its own certificate: the mismatch is then answered with 421,
      // where a failed handshake would say nothing.
      SNICallback: entry(
        { name: 'TLS', logger, ends: (_name) => socket },
        (name: string, callback: (error: Error | null, context?: SecureContext) => void) => {
          const context = this.#contextFor(canonicalHost(name) ?? target.host, socket, contexts)
          callback(context === undefined ? new Error('too many new hosts') : null, context)
        },
      ),
    })
    let done = false
    const timer = setTimeout(() => {
      log.late()
      socket.destroy()
    }, this.#deps.settings().timeouts.headers)
    secure.on('error', (error) => {
      log.failed(error, done)
      socket.destroy()
    })
    secure.once('close', () => {
      clearTimeout(timer)
      log.closed(done, secure.bytesRead > 0)
    })
    // A client that leaves in the middle of the handshake ends a stream nobody reads yet.
    const look = (): void => void secure.read(0)
    secure.on('readable', look)
    secure.once('end', () => {
      if (!done) socket.destroy()
    })
    const secured = (): void => {
      done = true
      secure.off('readable', look)
      clearTimeout(timer)
      const serverName = serverNameOf(secure)
      const tunnel: TunnelContext = {
        target,
        secure: true,
        ...(serverName === undefined ? {} : { serverName }),
      }
      if (secure.alpnProtocol === 'h2') this.#deps.http2.accept(secure, { socket, tunnel })
      else this.#handOn(secure, { socket, tunnel })
    }
    secure.once('secure', entry({ name: 'TLS', logger, ends: () => socket }, secured))
  }

  /** Undefined where one would have to be made, and too many were. */
  #contextFor(host: string, socket: Socket, contexts: ServerContexts): SecureContext | undefined {
    const { minting } = this.#deps
    return contexts.has(host) || minting.take(addressOf(socket)) ? contexts.for(host) : undefined
  }

  #handOn(inner: Socket, client: ClientConnection): void {
    this.#deps.register(inner, client)
    this.#deps.http.emit('connection', inner)
  }
}

/** `servername` is documented, but missing from Node's types; false where the client sent no name. */
function serverNameOf(secure: TLSSocket): string | undefined {
  return 'servername' in secure && typeof secure.servername === 'string' ? secure.servername : undefined
}

function silence(ms: number): Promise<'silent'> {
  return new Promise((resolve) => setTimeout(() => resolve('silent'), ms).unref())
}
