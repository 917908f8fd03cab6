import { ServerResponse, type IncomingMessage } from 'node:http'
import { reasonOf } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import { takeOver } from '../../config/take-over.js'
import type { TokenCheck } from './access.js'
import { ClientGoneError } from './paced-write.js'
import { RefusedRequestError, refuse, sendProblem, type Problem } from './problem.js'
import { readQuery } from './query.js'
import { refusedRequest } from './request-guard.js'
import type { Exchange, LeaveReason, Route } from './route.js'
import type { Match, Router } from './router.js'

/** What answering takes. */
interface Service {
  /** Where we listen. */
  readonly host: string
  readonly routes: readonly Route[]
  readonly router: Router
  readonly token?: TokenCheck
  readonly logger: Logger
}

/** Answers one request, whatever becomes of it. Never rejects. */
export async function answer(
  service: Service,
  request: IncomingMessage,
  response: ServerResponse,
  leave: AbortController,
): Promise<void> {
  response.once('close', () => {
    if (!response.writableFinished) leave.abort('client-left' satisfies LeaveReason)
  })
  // Whoever writes to it is told by the write; without a listener the process would end.
  response.on('error', () => {})
  try {
    const match = admit(service, request)
    // RFC 9110, 10.1.1: Node meets the one expectation there is by itself, and tells us of all others.
    const { expect } = request.headers
    if (expect !== undefined && !/100-continue/i.test(expect))
      refuse(417, 'there is no such expectation here')
    checkBody(match.route, request)
    await match.route.handle(exchangeOf(service, match, request, response, leave.signal))
  } catch (error) {
    answerFailure(service, request, response, leave.signal, error)
  }
}

/** As `answer`, but the connection is to be handed over if the route does that. */
export async function answerUpgrade(
  service: Service,
  request: IncomingMessage,
  head: Buffer,
  leave: AbortController,
): Promise<void> {
  const { socket } = request
  socket.on('error', () => {})
  if (!(await takeOver(socket, () => socket.destroy()))) return
  socket.once('close', () => leave.abort('client-left' satisfies LeaveReason))
  // RFC 9110 section 7.8: an upgrade may be ignored. Node takes the parser away, so the answer is the last one.
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  const attach = (): void => {
    response.assignSocket(socket)
    response.once('finish', () => socket.end())
  }
  try {
    const match = admit(service, request)
    const { route } = match
    const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket'
    if (isWebSocket && route.upgrade !== undefined) {
      const exchange = exchangeOf(service, match, request, response, leave.signal)
      await route.upgrade({ ...exchange, socket, head })
      return
    }
    if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined)
      refuse(400, 'a request for another protocol must have no body')
    attach()
    await route.handle(exchangeOf(service, match, request, response, leave.signal))
  } catch (error) {
    if (response.socket === null && !socket.destroyed) attach()
    answerFailure(service, request, response, leave.signal, error)
  }
}

/** @throws RefusedRequestError unless this client may ask this. */
function admit({ host, token, routes, router }: Service, request: IncomingMessage): Match {
  const { headers } = request
  const fetchSite = headers['sec-fetch-site']
  const refused = refusedRequest(
    {
      host: headers.host,
      origin: headers.origin,
      fetchSite: Array.isArray(fetchSite) ? fetchSite.join() : fetchSite,
    },
    request.socket.localAddress ?? host,
  )
  if (refused !== undefined) throw new RefusedRequestError(refused)
  const unauthorized = token?.(headers)
  const url = request.url ?? '/'
  if (unauthorized === undefined) return router(request.method ?? '', url)
  const open = routes.find((route) => route.open === true && route.path === url)
  if (open === undefined) throw new RefusedRequestError(unauthorized)
  return router(request.method ?? '', url)
}

function checkBody(route: Route, request: IncomingMessage): void {
  const { headers } = request
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  if (hasBody && route.body === undefined) refuse(400, `${route.method} ${route.path} takes no body`)
  // An unread body would keep the connection from its next request.
  if (route.body === undefined) request.resume()
}

function exchangeOf(
  { logger }: Service,
  { route, params }: Match,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Exchange {
  const query = readQuery(request.url ?? '/', route.query ?? {})
  return { request, response, params, query, signal, logger }
}

function answerFailure(
  { logger }: Service,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
  error: unknown,
): void {
  const refused = error instanceof RefusedRequestError
  if (!refused && !signal.aborted && !(error instanceof ClientGoneError)) {
    const path = (request.url ?? '').split('?', 1)[0]
    logger.error({ method: request.method, path, reason: reasonOf(error) }, 'request failed')
  }
  if (response.headersSent || response.socket === null) {
    response.destroy()
    return
  }
  const problem: Problem = refused
    ? error.problem
    : { status: 500, detail: 'the agent API failed; its log says why' }
  // What is still to come of the body is not waited for.
  const headers = request.complete ? problem.headers : { ...problem.headers, connection: 'close' }
  sendProblem(response, { ...problem, ...(headers === undefined ? {} : { headers }) })
}
