import type { Server as HttpServer } from 'node:http'
import type { Socket } from 'node:net'
import type { Transform } from 'node:stream'
import { TLSSocket, type SecureContext } from 'node:tls'
import { entry } from '../config/entry.js'
import { codeOf } from '../config/errors.js'
import { canonicalHost } from '../config/host-name.js'
import type { Logger } from '../config/logger.js'
import { addressOf } from './client-address.js'
import { closeWith } from './close-with.js'
import type { ClientConnection } from './exchange.js'
import type { Upstream } from './forward.js'
import type { Admission, Gate } from './gate.js'
import { judgeOpening, watchOpening } from './passthrough.js'
import { openingGuard } from './opening-guard.js'
import { peek } from './peek.js'
import type { TunnelContext } from './request-target.js'
import type { Settings } from './settings.js'
import type { Target } from './target.js'
import type { ServerContexts } from './tls/contexts.js'
import { readClientHello } from './tls/client-hello.js'
import type { Minting } from './tls/minting.js'
import type { Traffic } from './traffic.js'
import { splice } from './tunnel.js'
import { tunnelProtocol, type TunnelProtocol } from './tunnel-protocol.js'

// client → tunnel (CONNECT or SOCKS) → TLS ended here, plain HTTP, or raw bytes to upstream

/** What is asked for there speaks TLS, or is refused. */
const HTTPS_PORT = 443
/** After this silence the server may be the one that speaks first (SSH, SMTP): ask it. */
const SERVER_FIRST_MS = 300
/** Who leaves this soon without a word has seen the certificate and nothing else. */
const LOOK_AND_LEAVE_MS = 2_000

const DISTRUST = 'the client does not trust our CA; install it there, or list the host in tls.passthrough'

export interface InterceptDeps {
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
  async serve(socket: Socket, target: Target, accepted: () => void): Promise<void> {
    const { gate } = this.#deps
    gate.assertTunnelPort(target)
    if (gate.passesThrough(target)) {
      const { server, admission } = await this.#dial(socket, target)
      gate.record(admission)
      accepted()
      await this.#passThrough(socket, server, target)
      return
    }
    if (!this.#deps.contexts.has(target.host)) this.#deps.minting.assertLeft(addressOf(socket))
    accepted()
    // A certificate takes about a millisecond, in which the client begins its handshake.
    if (target.port === HTTPS_PORT) this.#contextFor(target.host, socket, this.#deps.contexts)
    const protocol = await this.#protocolOf(socket, target)
    if (protocol === 'served') return
    switch (protocol) {
      case undefined:
        socket.destroy()
        return
      case 'tls':
        await this.#endTls(socket, target)
        return
      case 'http':
        this.#handOn(socket, { socket, tunnel: { target, secure: false } })
        return
      case 'raw':
        await this.#tunnelRaw(socket, target)
    }
  }

  /** What the client speaks. While it is silent, upstream is asked whether it speaks first. */
  async #protocolOf(socket: Socket, target: Target): Promise<TunnelProtocol | 'served' | undefined> {
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
    await this.#splice(socket, server, target, speaker === 'undecided' ? openingGuard() : undefined)
    return 'served'
  }

  async #passThrough(socket: Socket, server: Socket, target: Target): Promise<void> {
    const { settings, logger } = this.#deps
    const opening = await judgeOpening(socket, server, target, settings().timeouts.headers, logger)
    switch (opening) {
      case 'join':
      case 'undecided':
        await this.#splice(socket, server, target, opening === 'undecided' ? openingGuard() : undefined)
        return
      case 'http':
        server.destroy()
        this.#handOn(socket, { socket, tunnel: { target, secure: false } })
        return
      case 'refused':
        server.destroy()
    }
  }

  async #tunnelRaw(socket: Socket, target: Target): Promise<void> {
    try {
      const { server, admission } = await this.#dial(socket, target)
      this.#deps.gate.record(admission)
      await this.#splice(socket, server, target)
    } catch (error) {
      this.#deps.logger.warn(
        { host: target.authority, problem: error instanceof Error ? error.message : String(error) },
        'tunnel closed',
      )
      socket.resetAndDestroy()
    }
  }

  async #splice(socket: Socket, server: Socket, target: Target, guard?: Transform): Promise<void> {
    const ended = this.#deps.traffic.tunnel(socket, server)
    const { idle } = this.#deps.settings().timeouts
    const how = await splice(socket, server, idle, socket, guard).finally(ended)
    if (how === 'idle') {
      const problem = 'nothing flowed for timeouts.idle'
      this.#deps.logger.info({ host: target.authority, problem }, 'tunnel closed')
    }
  }

  /** For bytes that nobody looks into. */
  async #dial(
    socket: Socket,
    target: Target,
  ): Promise<{ readonly server: Socket; readonly admission: Admission }> {
    const admission = this.#deps.gate.admit(target, { kind: 'raw' }, socket)
    return { server: await this.#deps.upstream().connect(admission.route), admission }
  }

  async #endTls(socket: Socket, target: Target): Promise<void> {
    const { logger } = this.#deps
    const hello = await peek(socket, readClientHello, this.#deps.settings().timeouts.headers)
    if (hello === undefined) {
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
    const timer = setTimeout(() => socket.destroy(), this.#deps.settings().timeouts.headers)
    let done = false
    let told = false
    const started = performance.now()
    const refused = (code: string | undefined, hint: string | undefined): void => {
      if (told) return
      told = true
      logger.info({ host: target.authority, code, hint }, 'TLS refused')
    }
    secure.on('error', (error) => {
      // In TLS 1.3 a client may look at the certificate when the handshake is over for us.
      const hint = hintFor(error)
      if (!done || hint !== undefined) refused(codeOf(error), hint)
      socket.destroy()
    })
    secure.once('close', () => {
      clearTimeout(timer)
      // Node's own TLS, and with it npm, closes without an alert.
      const quick = performance.now() - started < LOOK_AND_LEAVE_MS
      if (secure.bytesRead === 0 && quick) refused('closed without a request', `perhaps ${DISTRUST}`)
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

/** RFC 8446, 6.2: what a client says that does not trust our CA, or pins its own. */
function hintFor(error: unknown): string | undefined {
  return /UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN/.test(codeOf(error) ?? '') ? DISTRUST : undefined
}
