import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'
import type { CacheSection } from '../../config/model/config.js'
import { loadDefaultConfig } from '../../config/layers/load.js'
import { silentLogger, type Logger } from '../../base/log/logger.js'
import type { CacheOutcome, CacheRequest, UpstreamResponse } from '../../proxy/cache/contract/contract.js'
import type { ResponseCache } from '../../proxy/cache/response-cache.js'
import { openCache } from '../../proxy/cache/open-cache.js'
import { endToEnd, headerValue } from '../../proxy/message/headers.js'

/** The patterns of the shipped default, and two for URLs without a digest and from a CDN. */
const PATTERNS = [
  '^/v2/.*/blobs/sha256:.*',
  '^/v2/.*/manifests/sha256:.*',
  '^/registry-v2/docker/registry/v2/blobs/sha256/',
  '^/sha256/',
  '^/plain/',
]

export interface FrontOptions {
  readonly dir?: string
  readonly maxSize?: number
  /** Anything else of the section, instead of the shipped default's. */
  readonly section?: Partial<CacheSection>
  readonly now?: () => number
  readonly logger?: Logger
  /** Instead of what the system says. */
  readonly freeBytes?: () => Promise<number>
}

export function openTestCache(dir: string, options: FrontOptions = {}): Promise<ResponseCache> {
  const section: CacheSection = {
    ...loadDefaultConfig().config.cache,
    enabled: true,
    dir,
    max_size: options.maxSize ?? 1024 ** 3,
    patterns: PATTERNS,
    min_free: 0,
    ...options.section,
  }
  return openCache(section, {
    logger: options.logger ?? silentLogger,
    now: options.now ?? Date.now,
    ...(options.freeBytes === undefined ? {} : { freeBytes: options.freeBytes }),
  })
}

/** A server that asks the cache first and the origin otherwise: as little of a proxy as there can be. */
export interface Front {
  readonly port: number
  /** What `respond` came to, in the order of ending. */
  readonly outcomes: (CacheOutcome | { readonly kind: 'threw'; readonly error: unknown })[]
  /** Resolves when that many requests were settled. */
  settled(count: number): Promise<void>
  /** For each connection, the bytes that were handed to it and that the system has not taken. */
  waiting(): number[]
  close(): Promise<void>
}

export async function startFront(cache: ResponseCache, originPort: number): Promise<Front> {
  const outcomes: Front['outcomes'] = []
  const waiting = new Set<() => void>()
  const server = createServer((request, response) => {
    response.sendDate = false
    void answer(cache, originPort, request, response)
      .catch((error: unknown) => {
        outcomes.push({ kind: 'threw', error })
        if (response.headersSent) response.socket?.resetAndDestroy()
        else response.writeHead(502).end()
      })
      .then((outcome) => {
        if (outcome !== undefined) outcomes.push(outcome)
        for (const wake of waiting) wake()
        waiting.clear()
      })
  })
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    outcomes,
    async settled(count) {
      while (outcomes.length < count) await new Promise<void>((resolve) => waiting.add(resolve))
    },
    waiting: () => [...sockets].map(({ writableLength }) => writableLength),
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** A cache on `dir`, closed with the test, and a front for it. */
export async function startCached(
  t: Test,
  originPort: number,
  options: FrontOptions = {},
): Promise<{ readonly cache: ResponseCache; readonly front: Front; readonly dir: string }> {
  const dir = options.dir ?? t.testdir()
  const cache = await openTestCache(dir, options)
  const front = await startFront(cache, originPort)
  t.teardown(async () => {
    await cache.close()
    await front.close()
  })
  return { cache, front, dir }
}

async function answer(
  cache: ResponseCache,
  originPort: number,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<CacheOutcome> {
  const cacheRequest = describe(request)
  const outcome: CacheOutcome = cache.covers(cacheRequest)
    ? await cache.respond(cacheRequest, response, (signal, variation) =>
        ask(originPort, variation?.method ?? 'GET', request.url ?? '/', variation?.headers ?? [], signal),
      )
    : { kind: 'bypass' }
  if (outcome.kind === 'served') return outcome
  const upstream =
    outcome.kind === 'relay'
      ? outcome.response
      : await ask(originPort, request.method ?? 'GET', request.url ?? '/', request.rawHeaders)
  if (outcome.kind === 'bypass') cache.forwarded(cacheRequest, upstream)
  response.writeHead(upstream.status, upstream.reason, [...upstream.rawHeaders])
  upstream.body.once('error', () => response.socket?.resetAndDestroy())
  upstream.body.pipe(response)
  return outcome
}

function describe(request: IncomingMessage): CacheRequest {
  const [path = '/', query] = (request.url ?? '/').split('?', 2)
  return {
    method: request.method ?? 'GET',
    scheme: 'https',
    authority: `${request.headers.host ?? 'registry.test'}:443`,
    path,
    query: query === undefined ? '' : `?${query}`,
    header: (name) => headerValue(request.rawHeaders, name),
    fields: request.rawHeaders,
  }
}

function ask(
  port: number,
  method: string,
  path: string,
  headers: readonly string[],
  signal?: AbortSignal,
): Promise<UpstreamResponse> {
  return new Promise((resolve, reject) => {
    const host = headerValue(headers, 'host') === undefined ? ['Host', 'origin'] : []
    const outgoing = httpRequest({
      host: '127.0.0.1',
      port,
      method,
      path,
      headers: [...headers, ...host],
      agent: false,
      ...(signal === undefined ? {} : { signal }),
    })
    outgoing.on('error', reject)
    outgoing.once('response', (message) =>
      resolve({
        status: message.statusCode ?? 0,
        reason: message.statusMessage ?? '',
        rawHeaders: endToEnd(message.rawHeaders),
        body: message,
        untilClose:
          headerValue(message.rawHeaders, 'content-length') === undefined &&
          headerValue(message.rawHeaders, 'transfer-encoding') === undefined,
      }),
    )
    outgoing.end()
  })
}

export interface Got {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  /** Why the answer ended early; the status is 0 when not even a head came. */
  readonly broken: string | undefined
}

/** One request on a connection of its own. */
export function get(
  port: number,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
): Promise<Got> {
  return new Promise((resolve) => {
    const outgoing = httpRequest({ host: '127.0.0.1', port, path, method, headers, agent: false })
    outgoing.on('error', ({ code, message }: NodeJS.ErrnoException) =>
      resolve({ status: 0, headers: {}, rawHeaders: [], body: Buffer.alloc(0), broken: code ?? message }),
    )
    outgoing.once('response', (message) => {
      const chunks: Buffer[] = []
      let broken: string | undefined
      message.on('data', (chunk: Buffer) => chunks.push(chunk))
      message.on('error', (error: NodeJS.ErrnoException) => (broken = error.code ?? error.message))
      message.once('close', () =>
        resolve({
          status: message.statusCode ?? 0,
          headers: message.headers,
          rawHeaders: message.rawHeaders,
          body: Buffer.concat(chunks),
          broken,
        }),
      )
    })
    outgoing.end()
  })
}

/** A client that reads when told to. */
interface SlowClient {
  readonly socket: Socket
  /** Reads on until at least so many bytes have come in all, head included, then stops. */
  readTo(bytes: number): Promise<void>
  /** Reads to the end of the connection; resolves with the number of bytes. */
  drain(): Promise<number>
  /** Bytes that have come so far. */
  received(): number
  leave(): void
}

export async function openSlow(t: Test, port: number, path: string): Promise<SlowClient> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => undefined)
  t.teardown(() => socket.destroy())
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.pause()
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`)
  let received = 0
  return {
    socket,
    readTo: (bytes) =>
      new Promise((resolve, reject) => {
        const onData = (chunk: Buffer): void => {
          received += chunk.length
          if (received < bytes) return
          socket.off('data', onData)
          socket.off('close', onClose)
          socket.pause()
          resolve()
        }
        const onClose = (): void => reject(new Error(`closed after ${received} bytes`))
        socket.on('data', onData)
        socket.once('close', onClose)
        socket.resume()
      }),
    drain: () =>
      new Promise((resolve) => {
        socket.on('data', (chunk: Buffer) => (received += chunk.length))
        socket.once('close', () => resolve(received))
        socket.resume()
      }),
    received: () => received,
    leave: () => socket.destroy(),
  }
}

/** Resolves when `holds` does; the test's own time-out ends what never comes true. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5))
}
