import { EVERYBODY } from '../../base/http/access.js'
import { RouteServer } from '../../base/http/server.js'
import { entriesOf } from '../../base/process/entry.js'
import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import type { AgentActions } from './actions.js'
import { Callers, type CallerRules } from './caller.js'
import { ControlSocketError } from './errors.js'
import { accessBy, CONTROL_PROBLEMS, problemOf } from './problems.js'
import { controlRoutes } from './routes.js'
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
  const { socketPath, logger, actions } = deps
  await clearWay(socketPath)
  const callers = new Callers(deps)
  const control = new RouteServer({
    routes: controlRoutes(actions),
    access: {
      open: EVERYBODY,
      read: EVERYBODY,
      write: accessBy((request, { name = '' }) =>
        callers.check(request, actions.guards(name) ? 'guards' : 'services'),
      ),
      peer: accessBy((request) => callers.check(request, 'all')),
    },
    elsewhere: 'open',
    // A browser page that has found a way to the socket still says where it comes from.
    guard: ({ headers }) =>
      headers.origin === undefined ? undefined : { status: 400, detail: 'this is not for browsers' },
    problems: CONTROL_PROBLEMS,
    spareBodies: 'discarded',
    bodyTimeoutMs: REQUEST_TIMEOUT_MS,
    headersTimeoutMs: REQUEST_TIMEOUT_MS,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    maxConnections: MAX_CONNECTIONS,
    entry: entriesOf('control socket', logger),
    failed: ({ error, expected }) => {
      const problem = problemOf(error)
      if (problem.status === 500 && !expected)
        logger.error({ reason: reasonOf(error) }, 'a request on the control socket failed')
      return problem
    },
    troubled: (error) => logger.error({ reason: reasonOf(error) }, 'the control socket failed'),
  })
  try {
    await control.listenBy((server) => listenOn(server, socketPath, deps.gid))
  } catch (error) {
    throw new ControlSocketError(socketPath, reasonOf(error), { cause: error })
  }
  return { close: () => control.cut() }
}
