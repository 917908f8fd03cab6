import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { entry } from '../../config/entry.js'
import { codeOf, reasonOf } from '../../config/errors.js'
import { canonicalHost } from '../../config/host-name.js'
import { bindItself, type ListenAt } from '../../config/held-listeners.js'
import type { Logger } from '../../config/logger.js'
import { WaitingAnswers } from '../../base/http/waiting-answers.js'
import { KEEP_ALIVE } from '../keep-alive.js'
import { discardBody } from './body.js'
import { ReplyError, StreamBody, TextBody, type Reply, type Routes } from './routes.js'

/** A control request's head is small; see `body.ts` for its body. */
const HEADERS_LIMIT_MS = 10_000
/** Node looks for slow requests every 30 s by itself, which would make 40 s of the limit. */
const CHECKS_PER_LIMIT = 5

export interface ApiOptions {
  readonly host: string
  readonly port: number
  /** Binds for itself unless given. */
  readonly listenAt?: ListenAt
  readonly routes: Routes
  readonly logger: Logger
  /** 10 s unless given. */
  readonly headersLimitMs?: number
}

/** 17081: health, figures and control for those on this machine, and nobody else. */
export class ApiServer {
  readonly #server: Server
  readonly #options: ApiOptions

  constructor(options: ApiOptions) {
    this.#options = options
    const headersTimeout = options.headersLimitMs ?? HEADERS_LIMIT_MS
    // An archive may take as long as it flows.
    const limits = {
      ...KEEP_ALIVE,
      requestTimeout: 0,
      headersTimeout,
      connectionsCheckingInterval: headersTimeout / CHECKS_PER_LIMIT,
      // Ours to refuse, as any other Host that is not this machine's.
      requireHostHeader: false,
    }
    const { logger } = options
    const waiting = new WaitingAnswers()
    this.#server = createServer(
      limits,
      entry(
        { name: 'proxy API', logger, ends: ({ socket }) => socket },
        (request: IncomingMessage, response: ServerResponse) => {
          waiting.note(request, response)
          return this.#serve(request, response)
        },
      ),
    )
  }

  /** Resolves with the port in use. @throws the system's error when it cannot listen. */
  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      const { host, port, listenAt = bindItself } = this.#options
      this.#server.listen(listenAt(host, port), () => {
        this.#server.off('error', reject)
        this.#server.on('error', (error) =>
          this.#options.logger.error({ code: codeOf(error) }, 'cannot accept a control connection'),
        )
        const address = this.#server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : this.#options.port)
      })
    })
  }

  /** Resolves when the last connection is closed. */
  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that leaves in the midst of its body is no error of ours.
    request.on('error', () => undefined)
    const reply = await this.#answer(request)
    if (reply.body instanceof StreamBody) return this.#stream(request, response, reply, reply.body)
    const { status, body, headers } = reply
    const [text, type] =
      body instanceof TextBody ? [body.text, body.type] : [`${JSON.stringify(body)}\n`, 'application/json']
    // Closing over a body that is still on its way would reset the connection before the answer is read.
    if (!request.complete) await discardBody(request)
    response.writeHead(status, {
      ...(status === 204 ? {} : { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) }),
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      // What is left of it is not read as the next request.
      ...(request.complete ? {} : { Connection: 'close' }),
      ...headers,
    })
    response.end(request.method === 'HEAD' || status === 204 ? undefined : text)
    if (!request.complete) response.once('finish', () => request.destroy())
  }

  async #stream(
    request: IncomingMessage,
    response: ServerResponse,
    { status, headers }: Reply,
    { stream, type }: StreamBody,
  ): Promise<void> {
    response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store', ...headers })
    response.flushHeaders()
    if (request.method === 'HEAD') {
      stream.destroy()
      response.end()
      return
    }
    try {
      await pipeline(stream, response)
    } catch (error) {
      if (codeOf(error) === 'ERR_STREAM_PREMATURE_CLOSE') return
      this.#options.logger.warn({ path: request.url, reason: reasonOf(error) }, 'a control answer broke off')
    }
  }

  async #answer(request: IncomingMessage): Promise<Reply> {
    const refused = whyRefused(request)
    if (refused !== undefined) return { status: 403, body: { error: refused } }
    const { routes, logger } = this.#options
    const [path = '', query = ''] = (request.url ?? '').split(/\?(.*)/s, 2)
    const methods = Object.hasOwn(routes, path) ? routes[path] : undefined
    if (methods === undefined) {
      return { status: 404, body: { error: `no such route: ${path}`, routes: Object.keys(routes) } }
    }
    const names = Object.keys(methods)
    const allow = [...names, ...(names.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
    if (request.method === 'OPTIONS') return { status: 204, body: {}, headers: { Allow: allow } }
    const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '')
    const handler = Object.hasOwn(methods, method) ? methods[method] : undefined
    if (handler === undefined) {
      return {
        status: 405,
        body: { error: `${path} takes ${names.join(', ')}` },
        headers: { Allow: allow },
      }
    }
    try {
      return await handler({ message: request, query: new URLSearchParams(query) })
    } catch (error) {
      if (error instanceof ReplyError) return error.reply
      logger.error({ path, reason: reasonOf(error) }, 'cannot answer a control request')
      return { status: 500, body: { error: reasonOf(error) } }
    }
  }
}

/**
 * A page in a browser of this container could reach us: by a name it points at 127.0.0.1 (DNS rebinding: the
 * Host is then foreign) or from a page of its own (the Origin is then foreign).
 */
function whyRefused({ headers }: IncomingMessage): string | undefined {
  if (headers.host === undefined || !isLoopbackName(headers.host)) {
    return 'the Host header must be localhost, 127.0.0.1 or [::1]'
  }
  const { origin } = headers
  if (origin !== undefined && origin !== `http://${headers.host}`) {
    return 'requests from web pages of other origins are refused'
  }
  // Fetch Metadata: a browser says so of an image or a script, too, which come without an Origin.
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    return 'requests from web pages of other origins are refused'
  }
  return undefined
}

function isLoopbackName(authority: string): boolean {
  const host = canonicalHost(authority.replace(/:\d{1,5}$/, ''))
  return host === 'localhost' || host === '127.0.0.1' || host === '::1'
}
