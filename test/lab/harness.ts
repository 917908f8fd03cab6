import { createServer as createHttpServer, type RequestListener, type Server as HttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import {
  connect,
  createServer as createTcpServer,
  type AddressInfo,
  type Server,
  type Socket,
} from 'node:net'
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import type { Test } from 'tap'
import type { Config, HeaderRule } from '../../config/model/config.js'
import { loadDefaultConfig } from '../../config/layers/load.js'
import { silentLogger, type Logger } from '../../base/log/logger.js'
import type { ResponseCache } from '../../proxy/cache/response-cache.js'
import { noCache } from '../../proxy/cache/open-cache.js'
import type { Resolve } from '../../proxy/policy/route-guard.js'
import { Observations } from '../../proxy/policy/observations.js'
import { resolveSecrets, type Secrets } from '../../proxy/credentials/secrets.js'
import { ProxyServer } from '../../proxy/server.js'
import { ensureAuthority, type Authority } from '../../proxy/tls/authority.js'
import { createServerContexts, type ServerContexts } from '../../proxy/tls/contexts.js'
import { createLeafIssuer } from '../../proxy/tls/leaf.js'
import { upstreamContext } from '../../proxy/tls/upstream-trust.js'

/** Every name a test uses leads here; nothing outside this machine is ever asked. */
const LOOPBACK = '127.0.0.1'

const NOBODY_ASKED = { user: '', password: '', loopback: 'required' } as const

export interface TestProxyOptions {
  readonly headers?: Readonly<Record<string, Partial<HeaderRule>>>
  readonly secrets?: Config['secrets']
  /** Why secrets are not loaded that do not say `trust_docker: true`. */
  readonly withheld?: string
  /** Where secrets come from. */
  readonly env?: Readonly<Record<string, string>>
  readonly allowlist?: Config['allowlist']
  readonly blocklist?: Config['blocklist']
  readonly rules?: Config['rules']
  readonly mode?: Config['policy']['mode']
  readonly egress?: Partial<Config['egress']>
  readonly passthrough?: readonly string[]
  /** PEM certificates of others who may sign for origins. */
  readonly upstreamCa?: readonly string[]
  readonly auth?: Config['proxy']['auth']
  readonly limits?: Partial<Config['limits']>
  readonly connectionCeiling?: number
  readonly upstreamProxy?: Partial<Config['upstream_proxy']>
  readonly timeouts?: Partial<Config['timeouts']>
  readonly cache?: ResponseCache
  readonly contexts?: (own: ServerContexts) => ServerContexts
  readonly logger?: Logger
  /** How often the proxy looks for what is dead. */
  readonly watchMs?: number
  /** Instead of `addresses`. */
  readonly resolve?: Resolve
  /** Ports of the proxy's besides the one it listens on. */
  readonly ownPorts?: readonly number[]
  /** Addresses of names; all others are 127.0.0.1. */
  readonly addresses?: Readonly<Record<string, readonly string[]>>
}

export interface TestProxy {
  readonly server: ProxyServer
  readonly observations: Observations
  readonly port: number
  readonly caPath: string
  readonly caPem: string
  readonly config: Config
  readonly secrets: Secrets
  readonly trust: SecureContext
  /** Signs the certificates of the test's origins; the proxy trusts it and nothing else. */
  readonly originAuthority: Authority
  /** curl through the proxy, `$PROXY` in arguments being its address; never rejects. */
  curl(...args: string[]): Promise<CurlResult>
}

interface CurlResult {
  readonly status: number
  readonly body: string
  readonly stderr: string
  readonly exitCode: number
}

export async function startProxy(t: Test, options: TestProxyOptions = {}): Promise<TestProxy> {
  const dir = await mkdtemp(join(tmpdir(), 'discobot-proxy-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const caPath = join(dir, 'ca', 'ca.crt')
  const authority = await makeAuthority(join(dir, 'ca'))
  const originAuthority = await makeAuthority(join(dir, 'origin-ca'))
  const config: Config = {
    proxy: { port: 0, api_port: 0, host: [LOOPBACK], auth: options.auth ?? NOBODY_ASKED },
    tls: { cert_dir: join(dir, 'ca'), passthrough: options.passthrough ?? [], upstream_ca: [] },
    cache: { ...loadDefaultConfig().config.cache, enabled: false, dir: join(dir, 'cache') },
    headers: Object.fromEntries(
      Object.entries(options.headers ?? {}).map(([pattern, rule]) => [
        pattern,
        { set: {}, append: {}, conditions: [], insecure: false, ...rule },
      ]),
    ),
    secrets: options.secrets ?? {},
    allowlist: options.allowlist ?? { enabled: false, domains: [], ips: [] },
    blocklist: options.blocklist ?? { domains: [], ips: [] },
    rules: options.rules ?? [],
    policy: { mode: options.mode ?? 'enforce' },
    egress: { ...loadDefaultConfig().config.egress, ...options.egress },
    upstream_proxy: { ...loadDefaultConfig().config.upstream_proxy, ...options.upstreamProxy },
    limits: { ...loadDefaultConfig().config.limits, ...options.limits },
    timeouts: { ...loadDefaultConfig().config.timeouts, ...options.timeouts },
    logging: { level: 'error', format: 'text', file: '' },
  }
  const observations = new Observations(options.logger ?? silentLogger, Date.now)
  const secrets = await resolveSecrets(config.secrets, options.env ?? {}, options.withheld)
  const trust = upstreamContext([originAuthority.certPem, ...(options.upstreamCa ?? [])])
  const contexts = createServerContexts(authority, Date.now)
  const server = new ProxyServer({
    observations,
    config,
    secrets,
    contexts: options.contexts?.(contexts) ?? contexts,
    trust,
    cache: options.cache ?? noCache(),
    resolve: options.resolve ?? ((host) => Promise.resolve(options.addresses?.[host] ?? [LOOPBACK])),
    isOwnPort: (port) => options.ownPorts?.includes(port) === true,
    ...(options.connectionCeiling === undefined ? {} : { connectionCeiling: options.connectionCeiling }),
    ...(options.watchMs === undefined ? {} : { watchMs: options.watchMs }),
    logger: options.logger ?? silentLogger,
    now: () => performance.now(),
  })
  await server.start()
  t.teardown(() => server.stop(0))
  const address = `${LOOPBACK}:${server.port}`
  return {
    server,
    observations,
    port: server.port,
    caPath,
    caPem: authority.certPem,
    config,
    secrets,
    trust,
    originAuthority,
    async curl(...args) {
      const { stdout, stderr, exitCode } = await execa(
        'curl',
        [
          '-sS',
          '-m',
          '15',
          '--cacert',
          caPath,
          '-w',
          '\n%{http_code}',
          ...args.map((arg) => arg.replace('$PROXY', address)),
        ],
        { reject: false, env: { CURL_CA_BUNDLE: undefined, NO_PROXY: undefined, no_proxy: undefined } },
      )
      const at = stdout.lastIndexOf('\n')
      return {
        status: Number(stdout.slice(at + 1)),
        body: stdout.slice(0, at),
        stderr,
        exitCode: exitCode ?? -1,
      }
    },
  }
}

export async function makeAuthority(dir: string): Promise<Authority> {
  return ensureAuthority({ certPath: join(dir, 'ca.crt'), keyPath: join(dir, 'ca.key'), now: Date.now })
}

export interface Origin {
  readonly port: number
  readonly server: HttpServer
}

/** An origin over plain HTTP, closed with the test. */
export async function startHttpOrigin(t: Test, listener: RequestListener): Promise<Origin> {
  const server = createHttpServer(listener)
  return { server, port: await listen(t, server) }
}

/** An origin over TLS with a certificate for `host`, closed with the test. */
export async function startHttpsOrigin(
  t: Test,
  authority: Authority,
  host: string,
  listener: RequestListener,
): Promise<Origin> {
  const issuer = createLeafIssuer(authority, Date.now)
  const server = createHttpsServer({ key: issuer.keyPem, cert: issuer.issue(host) }, listener)
  return { server, port: await listen(t, server) }
}

/** A server of bare bytes, closed with the test. */
export async function startTcpOrigin(t: Test, onSocket: (socket: Socket) => void): Promise<number> {
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy())
    onSocket(socket)
  })
  return listen(t, server)
}

async function listen(t: Test, server: Server | HttpServer): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve))
  t.teardown(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  })
  return (server.address() as AddressInfo).port
}

/** A bare connection whose bytes are kept. */
interface RawClient {
  readonly socket: Socket
  /** All that came so far, as latin1. */
  received(): string
  /** Resolves with all that came once it matches. */
  until(pattern: RegExp): Promise<string>
  /** Resolves with all that came once the connection is closed, and how it was. */
  closed(): Promise<{ readonly text: string; readonly errorCode: string | undefined }>
}

export async function openRaw(t: Test, port: number, first?: string | Buffer): Promise<RawClient> {
  const socket = connect({ port, host: LOOPBACK, allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  const client = collect(socket)
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  if (first !== undefined) socket.write(first)
  return client
}

/** TLS over a tunnel that CONNECT opened. */
export async function openTls(
  t: Test,
  proxy: TestProxy,
  target: string,
  serverName: string | undefined,
): Promise<RawClient & { readonly socket: TLSSocket }> {
  const raw = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const socket = connectTls({
    socket: raw.socket,
    ca: proxy.caPem,
    ...(serverName === undefined ? {} : { servername: serverName }),
    checkServerIdentity: () => undefined,
  })
  const client = collect(socket)
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
  return { ...client, socket }
}

function collect<S extends Socket>(socket: S): RawClient & { readonly socket: S } {
  let text = ''
  let errorCode: string | undefined
  const closed = new Promise<{ text: string; errorCode: string | undefined }>((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => (errorCode = error.code))
    socket.once('close', () => resolve({ text, errorCode }))
  })
  // Half-open is allowed, so that tests decide themselves when their side ends.
  socket.once('end', () => socket.end())
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  return {
    socket,
    received: () => text,
    closed: () => closed,
    until: (pattern) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          if (!pattern.test(text)) return
          socket.off('data', check)
          resolve(text)
        }
        socket.on('data', check)
        socket.once('close', () =>
          reject(new Error(`closed before ${String(pattern)}, after ${JSON.stringify(text)}`)),
        )
        check()
      }),
  }
}
