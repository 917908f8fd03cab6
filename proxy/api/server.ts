import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { reasonOf } from '../../config/errors.js'
import { canonicalHost } from '../../config/host-name.js'
import type { Logger } from '../../config/logger.js'
import type { ResponseCache } from '../cache/contract.js'

/** A control request is small and answered at once. */
const REQUEST_LIMIT_MS = 10_000

export interface ApiOptions {
  readonly host: string
  readonly port: number
  /** Path of the CA certificate clients must trust. */
  readonly caCertPath: string
  readonly cache: () => ResponseCache
  readonly logger: Logger
}

/** An answer as JSON. */
interface Reply {
  readonly status: number
  readonly body: object
  readonly headers?: Readonly<Record<string, string>>
}

type Handler = () => Reply | Promise<Reply>

/** 17081: health and figures for those on this machine, and nobody else. */
export class ApiServer {
  readonly #server: Server
  readonly #options: ApiOptions
  readonly #routes: Readonly<Record<string, Readonly<Record<string, Handler>>>>

  constructor(options: ApiOptions) {
    this.#options = options
    this.#routes = {
      '/health': {
        GET: () => ({ status: 200, body: { status: 'ok', ca_cert: options.caCertPath } }),
      },
      '/api/cache/stats': {
        GET: () => ({ status: 200, body: options.cache().stats() }),
      },
      '/api/cache': {
        DELETE: async () => {
          const removed = await options.cache().clear()
          options.logger.info(removed, 'cache cleared')
          return { status: 200, body: { status: 'ok', ...removed } }
        },
      },
    }
    this.#server = createServer({ requestTimeout: REQUEST_LIMIT_MS }, (request, response) => {
      void this.#serve(request, response)
    })
  }

  /** Resolves with the port in use. @throws the system's error when it cannot listen. */
  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host: this.#options.host, port: this.#options.port }, () => {
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
    const { status, body, headers } = await this.#answer(request)
    const text = `${JSON.stringify(body)}\n`
    response.writeHead(status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(text),
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      ...headers,
    })
    response.end(request.method === 'HEAD' ? undefined : text)
    // No route takes a body; one that is sent is not read as the next request.
    if (!request.complete) response.once('finish', () => request.destroy())
  }

  async #answer(request: IncomingMessage): Promise<Reply> {
    const refused = whyRefused(request)
    if (refused !== undefined) return { status: 403, body: { error: refused } }
    const path = (request.url ?? '').split('?', 1)[0] ?? ''
    const methods = Object.hasOwn(this.#routes, path) ? this.#routes[path] : undefined
    if (methods === undefined) {
      return { status: 404, body: { error: `no such route: ${path}`, routes: Object.keys(this.#routes) } }
    }
    const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '')
    const handler = Object.hasOwn(methods, method) ? methods[method] : undefined
    if (handler === undefined) {
      const allow = Object.keys(methods).join(', ')
      return { status: 405, body: { error: `${path} takes ${allow}` }, headers: { Allow: allow } }
    }
    try {
      return await handler()
    } catch (error) {
      this.#options.logger.error({ path, reason: reasonOf(error) }, 'cannot answer a control request')
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
  return undefined
}

function isLoopbackName(authority: string): boolean {
  const host = canonicalHost(authority.replace(/:\d{1,5}$/, ''))
  return host === 'localhost' || host === '127.0.0.1' || host === '::1'
}
