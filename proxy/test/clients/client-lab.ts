import { mkdtempSync, rmSync } from 'node:fs'
import { createSecureServer } from 'node:http2'
import type { RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import type { Test } from 'tap'
import { silentLogger, type Logger } from '../../../base/log/logger.js'
import { loadDefaultConfig } from '../../../config/layers/load.js'
import { openTestCache } from '../../../test/lab/cache-front.js'
import { startProxy, type Origin, type TestProxy, type TestProxyOptions } from '../../../test/lab/harness.js'
import { createLeafIssuer } from '../../tls/leaf.js'

// Programs of others, each as it comes from Debian, told of the proxy the way a container tells them.

/** Debian's own programs; the machine may have others earlier on its PATH. npm is beside our Node. */
const PATH = `/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:${dirname(process.execPath)}`

export interface ClientLab {
  readonly proxy: TestProxy
  readonly address: string
  /** Of this test alone, and the clients' HOME. */
  readonly folder: string
  /**
   * Runs a client to its end, with nothing of our own environment, and rejects with what it said when it fails.
   * Its standard output, as bytes.
   */
  run(command: string, args: readonly string[], settings?: RunSettings): Promise<Buffer>
  /** What it said on both streams; rejects like `run`. */
  said(command: string, args: readonly string[], settings?: RunSettings): Promise<string>
  /** Environment of every client: proxy, and whom to trust. */
  readonly env: Readonly<Record<string, string>>
  /** Resolves once a request in the proxy's log matches, written `GET host:port/path 200 response`. */
  logged(pattern: RegExp): Promise<string>
  /** Those logged so far that match. */
  requests(pattern: RegExp): readonly string[]
}

interface RunSettings {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Buffer
}

/**
 * A proxy with the rules it ships with. Clients trust its CA and nothing else, and it alone trusts the origins':
 * whoever gets an answer over TLS has had its TLS ended by the proxy.
 */
export async function startClientLab(t: Test, options: TestProxyOptions = {}): Promise<ClientLab> {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-client-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const log = requestLog()
  const cache = await openTestCache(join(folder, 'cache'), {
    section: { patterns: loadDefaultConfig().config.cache.patterns },
  })
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { cache, logger: log.logger, ...options })
  const address = `http://127.0.0.1:${proxy.port}`
  const env = {
    PATH,
    HOME: folder,
    LANG: 'C.UTF-8',
    ...proxyVariables(address),
    NODE_EXTRA_CA_CERTS: proxy.caPath,
    // Variables that replace the system's list.
    ...Object.fromEntries(
      ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'GIT_SSL_CAINFO', 'PIP_CERT'].map((name) => [
        name,
        proxy.caPath,
      ]),
    ),
  }
  const finish = (command: string, args: readonly string[], settings: RunSettings) =>
    execa(command, args, {
      extendEnv: false,
      env: { ...env, ...settings.env },
      cwd: settings.cwd ?? folder,
      encoding: 'buffer',
      stripFinalNewline: false,
      all: true,
      timeout: 100_000,
      ...(settings.input === undefined ? { stdin: 'ignore' as const } : { input: settings.input }),
    })
  return {
    proxy,
    address,
    folder,
    env,
    async run(command, args, settings = {}) {
      return Buffer.from((await finish(command, args, settings)).stdout)
    },
    async said(command, args, settings = {}) {
      return Buffer.from((await finish(command, args, settings)).all).toString()
    },
    logged: log.logged,
    requests: log.requests,
  }
}

function proxyVariables(address: string): Record<string, string> {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY']
  return Object.fromEntries(
    names.flatMap((name) => [name, name.toLowerCase()]).map((name) => [name, address]),
  )
}

interface RequestLog extends Pick<ClientLab, 'logged' | 'requests'> {
  readonly logger: Logger
}

function requestLog(): RequestLog {
  const lines: string[] = []
  const waiting = new Set<() => void>()
  const keep = (fields: object, message: string): void => {
    const { method, host, path, status, problem } = fields as Record<string, string | number | undefined>
    if (method === undefined) return
    lines.push(`${method} ${host}${path} ${status} ${problem ?? message}`)
    for (const look of waiting) look()
  }
  return {
    logger: { ...silentLogger, info: keep, warn: keep, isLevelEnabled: () => true },
    requests: (pattern) => lines.filter((line) => pattern.test(line)),
    logged: (pattern) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = lines.find((line) => pattern.test(line))
          if (found === undefined) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
      }),
  }
}

/** An origin that speaks HTTP/2 and HTTP/1.1 over TLS, as most do. */
export async function startModernOrigin(
  t: Test,
  { originAuthority }: TestProxy,
  host: string,
  listener: RequestListener,
): Promise<Pick<Origin, 'port'>> {
  const issuer = createLeafIssuer(originAuthority, Date.now)
  const server = createSecureServer(
    { key: issuer.keyPem, cert: issuer.issue(host), allowHTTP1: true },
    // Node gives both versions the same shape; its types do not say so.
    listener as unknown as Parameters<typeof createSecureServer>[1],
  )
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('sessionError', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  })
  return { port: (server.address() as AddressInfo).port }
}
