import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { DiscobotError, codeOf, reasonOf } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import { sendJson, sendProblem } from './problem.js'
import { refusedRequest } from './request-guard.js'

export class AgentApiListenError extends DiscobotError {
  readonly code = 'AGENT_API_LISTEN_FAILED'
}

export type Handler = (request: IncomingMessage) => Promise<object>

/** Path → method → what answers it. */
export type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>

export interface AgentApiOptions {
  /** An IP address; loopback unless somebody decided otherwise. */
  readonly host: string
  /** 0 asks the kernel for a free one. */
  readonly port: number
  readonly routes: Routes
  readonly logger: Logger
}

export interface AgentApi {
  readonly port: number
  /** Refuses new connections, lets answers under way end for `graceMs`, and resolves when all are closed. */
  close(graceMs: number): Promise<void>
}

/**
 * Serves `routes` as JSON over HTTP/1.1.
 *
 * @throws AgentApiListenError when the address cannot be listened on.
 */
export async function startAgentApi(options: AgentApiOptions): Promise<AgentApi> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      options.logger.error({ url: request.url, reason: reasonOf(error) }, 'request failed')
      if (response.headersSent) response.destroy()
      else sendProblem(response, { status: 500, detail: 'the agent API failed; its log says why' })
    })
  })
  const idle = trackIdle(server)
  const port = await listen(server, options.host, options.port)
  return { port, close: (graceMs) => close(server, idle, graceMs) }
}

async function answer(
  options: AgentApiOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // What a request carries is not used, and an unread body would keep the connection from its next request.
  request.resume()
  const refused = refusedRequest(
    { host: request.headers.host, origin: request.headers.origin },
    request.socket.localAddress ?? options.host,
  )
  if (refused !== undefined) return sendProblem(response, refused)
  const path = (request.url ?? '').split('?', 1)[0] ?? ''
  const methods = Object.hasOwn(options.routes, path) ? options.routes[path] : undefined
  if (methods === undefined)
    return sendProblem(response, { status: 404, detail: `there is nothing at ${path}` })
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '')
  const handler = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (handler === undefined) {
    const allow = Object.keys(methods)
      .flatMap((name) => (name === 'GET' ? ['GET', 'HEAD'] : [name]))
      .join(', ')
    const detail = `${path} does not take ${request.method}, only ${allow}`
    return sendProblem(response, { status: 405, detail, headers: { allow } })
  }
  sendJson(response, await handler(request))
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const reason = codeOf(error) === 'EADDRINUSE' ? 'the port is in use' : error.message
      reject(new AgentApiListenError(`cannot listen on ${host}:${port}: ${reason}`, { cause: error }))
    })
    server.listen(port, host, () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}

/** Connections without a request under way. Node's own list leaves out those that never sent one. */
function trackIdle(server: Server): ReadonlySet<Socket> {
  const idle = new Set<Socket>()
  server.on('connection', (socket) => {
    idle.add(socket)
    socket.once('close', () => idle.delete(socket))
  })
  server.on('request', ({ socket }, response) => {
    idle.delete(socket)
    response.once('close', () => {
      if (socket.destroyed) return
      if (server.listening) idle.add(socket)
      else socket.destroySoon()
    })
  })
  return idle
}

function close(server: Server, idle: ReadonlySet<Socket>, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs)
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    for (const socket of idle) socket.destroy()
  })
}
