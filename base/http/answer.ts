import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AccessTable } from './access.js'
import { ClientGoneError } from './paced-write.js'
import { RefusedRequestError, refuse, sendProblem, type Problem, type ProblemFormat } from './problem.js'
import { readQuery } from './query.js'
import { discardBody, hasBody, parseJson, readText, requireType } from './request-body.js'
import type { Exchange, LeaveReason, Route } from './route.js'
import type { Match, Router } from './router.js'

/** What answering takes. */
export interface Service {
  readonly router: Router
  readonly access: AccessTable
  /** The level that the question takes what is not there. */
  readonly elsewhere: 'open' | 'read'
  /** Asked first: what another origin's page makes a browser send gets no further. */
  readonly guard: (request: IncomingMessage) => Problem | undefined
  readonly problems: ProblemFormat
  /** What becomes of a body that no route has asked for, or has read to its end. */
  readonly spareBodies: 'refused' | 'discarded'
  /** For a body that is read as a whole. */
  readonly bodyTimeoutMs: number
  /** Told of what a route throws besides refusals; says what the client is told. */
  readonly failed: (failure: Failure) => Problem
}

interface Failure {
  readonly error: unknown
  readonly request: IncomingMessage
  /** The answer has begun, so it can only be broken off. */
  readonly began: boolean
  /** The client has left or the server is stopping: no fault of anybody's. */
  readonly expected: boolean
}

/** Answers one request, whatever becomes of it. Rejects only if `failed` throws. */
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
  // A client that leaves in the midst of its body is no fault of ours.
  request.on('error', () => {})
  try {
    // Not awaited where it need not be: a refusal in this very turn is the connection's last answer.
    const admitted = admit(service, request)
    const match = admitted instanceof Promise ? await admitted : admitted
    // RFC 9110, 10.1.1: Node meets the one expectation there is by itself, and tells us of all others.
    const { expect } = request.headers
    if (expect !== undefined && !/100-continue/i.test(expect))
      refuse(417, 'there is no such expectation here')
    const { route } = match
    if (route.body === undefined) await spareBody(service, route, request, response)
    const exchange = exchangeOf(service, match, request, response, leave.signal)
    if (route.body !== undefined) requireType(request, route.body)
    await route.handle(exchange)
  } catch (error) {
    await answerFailure(service, request, response, leave.signal, error)
  }
}

/** Throws, or rejects with, a RefusedRequestError unless this client may ask this. */
export function admit(service: Service, request: IncomingMessage): Match | Promise<Match> {
  const { router, access, guard, elsewhere } = service
  const refused = guard(request)
  if (refused !== undefined) throw new RefusedRequestError(refused)
  const found = router(request.method ?? '', request.url ?? '/')
  const level = 'route' in found ? found.route.access : found.open ? 'open' : elsewhere
  const rule = access[level]
  // serveRoutes() starts with no such route.
  if (rule === undefined) throw new Error(`no rule says who may ask what takes "${level}"`)
  const settle = (denied: Problem | undefined): Match => {
    if (denied !== undefined) throw new RefusedRequestError(denied)
    if ('problem' in found) throw new RefusedRequestError(found.problem)
    return found
  }
  const denied = rule.check(request, 'params' in found ? found.params : {})
  return denied instanceof Promise ? denied.then(settle) : settle(denied)
}

/** Sees to the body of a request that should have none. @throws RefusedRequestError */
async function spareBody(
  { spareBodies }: Service,
  route: Route,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (!hasBody(request)) return void request.resume()
  if (spareBodies === 'refused') {
    // An unread body would keep the connection from its next request.
    request.resume()
    refuse(400, `${route.method} ${route.path} takes no body`)
  }
  await discardBody(request)
  if (!request.complete) lastAnswer(request, response)
}

/** What is left of the body is not read as the next request. */
function lastAnswer(request: IncomingMessage, response: ServerResponse): void {
  response.shouldKeepAlive = false
  response.once('finish', () => request.destroy())
}

export function exchangeOf(
  { bodyTimeoutMs }: Service,
  { route, params }: Match,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Exchange {
  const query = readQuery(request.url ?? '/', route.query ?? {})
  const text = (): Promise<string> => readText(request, route.body?.maxBytes ?? 0, bodyTimeoutMs)
  return { request, response, params, query, signal, text, json: async () => parseJson(await text()) }
}

export async function answerFailure(
  { failed, problems, spareBodies }: Service,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
  error: unknown,
): Promise<void> {
  const began = response.headersSent || response.socket === null
  const expected = signal.aborted || error instanceof ClientGoneError
  const problem =
    error instanceof RefusedRequestError ? error.problem : failed({ error, request, began, expected })
  if (began) {
    response.destroy()
    return
  }
  if (spareBodies === 'discarded' && !request.complete) await discardBody(request)
  if (request.complete) return sendProblem(response, problem, problems)
  // What is still to come of the body is not waited for.
  if (spareBodies === 'discarded') lastAnswer(request, response)
  sendProblem(response, { ...problem, headers: { ...problem.headers, connection: 'close' } }, problems)
}
