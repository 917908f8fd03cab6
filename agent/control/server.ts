import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { entry } from '../../config/entry.js'
import { reasonOf } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import { WaitingAnswers } from '../../base/http/waiting-answers.js'
import type { AgentActions } from './actions.js'
import { sendProblem } from './answer.js'
import { Callers, type CallerRules } from './caller.js'
import { ControlRequestError, ControlSocketError } from './errors.js'
import { controlRoutes, type Route } from './routes.js'
import { clearWay, listenOn } from './socket-file.js'

export interface ControlDeps extends CallerRules {
  readonly socketPath: string
  /** Who may connect besides root; absent means our own group. */
  readonly gid?: number
  readonly logger: Logger
  readonly actions: AgentActions
}

export interface ControlServer {
  /** Resolves when the socket is gone and every connection is closed. */
  close(): Promise<void>
}

/** Of a request, not of an answer: a start may take as long as the service does. */
const REQUEST_TIMEOUT_MS = 10_000
/** Followers of the log, and some more. */
const MAX_CONNECTIONS = 128

/**
 * Serves HTTP on a Unix socket. What a dead agent left behind is removed; a socket that answers is not ours.
 *
 * @throws ControlSocketError
 */
export async function startControlServer(deps: ControlDeps): Promise<ControlServer> {
  const { socketPath, logger } = deps
  await clearWay(socketPath)
  const callers = new Callers(deps)
  const routes = controlRoutes(deps.actions)
  const waiting = new WaitingAnswers()
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
    entry(
      { name: 'control socket', logger, ends: ({ socket }) => socket },
      async (request: IncomingMessage, response: ServerResponse) => {
        waiting.note(request, response)
        response.on('error', () => undefined)
        try {
          await answer(request, response, routes, callers)
        } catch (error) {
          sendProblem(response, error, logger)
        } finally {
          // What of a body nobody has read would keep the connection from its next request.
          request.resume()
        }
      },
    ),
  )
  server.maxConnections = MAX_CONNECTIONS
  server.on(
    'clientError',
    entry({ name: 'control socket', logger, ends: (_, socket) => socket }, (_: Error, socket: Duplex) => {
      socket.destroy()
    }),
  )
  try {
    await listenOn(server, socketPath, deps.gid)
  } catch (error) {
    server.close()
    throw new ControlSocketError(socketPath, reasonOf(error), { cause: error })
  }
  server.on('error', (error) => logger.error({ reason: reasonOf(error) }, 'the control socket failed'))
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: readonly Route[],
  callers: Callers,
): Promise<void> {
  // A browser page that has found a way to the socket still says where it comes from.
  if (request.headers.origin !== undefined) throw new ControlRequestError(400, 'this is not for browsers')
  const [path = '/', search = ''] = (request.url ?? '/').split('?', 2)
  const { route, parts } = routeOf(routes, path, request.method ?? 'GET')
  const left = new AbortController()
  response.once('close', () => left.abort())
  const { change } = route
  if (change !== undefined)
    await callers.check(request, typeof change === 'function' ? change(parts) : change)
  await route.answer({ request, response, query: new URLSearchParams(search), parts, left: left.signal })
}

function routeOf(
  routes: readonly Route[],
  path: string,
  asked: string,
): { route: Route; parts: readonly string[] } {
  const there = routes.filter((route) => route.path.test(path))
  if (there.length === 0) throw new ControlRequestError(404, `there is nothing at ${path}`)
  const route = there.find(({ method }) => method === asked || (method === 'GET' && asked === 'HEAD'))
  if (route === undefined) {
    const allow = there.map(({ method }) => (method === 'GET' ? 'GET, HEAD' : method)).join(', ')
    throw new ControlRequestError(405, `${asked} is not possible at ${path}, only ${allow}`, allow)
  }
  return { route, parts: route.path.exec(path)?.slice(1) ?? [] }
}
