import { answerUpgrade } from '../../base/http/answer-upgrade.js'
import { PROBLEM_DETAILS } from '../../base/http/problem.js'
import { FOREIGN_ANSWERS, requestGuard } from '../../base/http/request-guard.js'
import type { Route } from '../../base/http/route.js'
import { RouteServer } from '../../base/http/server.js'
import { isLoopback } from '../../base/net/loopback.js'
import { entriesOf } from '../../base/process/entry.js'
import { DiscobotError, codeOf, reasonOf } from '../../base/errors.js'
import { bindItself, type ListenAt } from '../../base/process/held-listeners.js'
import type { Logger } from '../../base/log/logger.js'
import { agentAccess, type TokenCheck } from './settings/access.js'

class AgentApiListenError extends DiscobotError {
  readonly code = 'AGENT_API_LISTEN_FAILED'
}

interface AgentApiOptions {
  /** An IP address; loopback unless somebody decided otherwise. */
  readonly host: string
  /** 0 asks the kernel for a free one. */
  readonly port: number
  /** Binds for itself unless given. */
  readonly listenAt?: ListenAt
  readonly routes: readonly Route[]
  /** Absent: everybody who can connect may ask, which only loopback allows. */
  readonly token?: TokenCheck
  /** For the head of a request, and for a body that is read as a whole. */
  readonly clientTimeoutMs: number
  readonly logger: Logger
}

export interface AgentApi {
  readonly port: number
  /**
   * Refuses new connections, ends what streams, lets other answers under way end for `graceMs`, and resolves when
   * all are closed and nothing that a request started is left.
   */
  close(graceMs: number): Promise<void>
}

/** Far more than people and agents of one container need, far less than the 1,024 descriptors a process may have. */
const MAX_CONNECTIONS = 256
/** How often Node looks for heads that take too long; its own half minute would be their real limit. */
const CHECK_INTERVAL_MS = 2_000

/**
 * Serves `routes` over HTTP/1.1.
 *
 * @throws AgentApiListenError when the address cannot be listened on, or must not be without a token.
 */
export async function startAgentApi(options: AgentApiOptions): Promise<AgentApi> {
  const { host, port: wanted, token, clientTimeoutMs, logger, listenAt = bindItself } = options
  if (token === undefined && !isLoopback(host)) {
    const reason = 'beyond loopback it takes a token; set DISCOBOT_API_TOKEN'
    throw new AgentApiListenError(`cannot listen on ${host}:${wanted}: ${reason}`)
  }
  const api = new RouteServer({
    routes: options.routes,
    access: agentAccess(token),
    elsewhere: 'read',
    guard: requestGuard(host, FOREIGN_ANSWERS),
    problems: PROBLEM_DETAILS,
    spareBodies: 'refused',
    bodyTimeoutMs: clientTimeoutMs,
    headersTimeoutMs: clientTimeoutMs,
    checkIntervalMs: CHECK_INTERVAL_MS,
    maxConnections: MAX_CONNECTIONS,
    entry: entriesOf('agent API', logger),
    answerUpgrade,
    failed: ({ error, request, expected }) => {
      const path = (request.url ?? '').split('?', 1)[0]
      if (!expected) logger.error({ method: request.method, path, reason: reasonOf(error) }, 'request failed')
      return { status: 500, detail: 'the agent API failed; its log says why' }
    },
    troubled: (error) => logger.error({ reason: error.message }, 'cannot accept a connection'),
  })
  try {
    const port = await api.listen(listenAt(host, wanted))
    return { port, close: (graceMs) => api.close(graceMs) }
  } catch (error) {
    const reason = codeOf(error) === 'EADDRINUSE' ? 'the port is in use' : reasonOf(error)
    throw new AgentApiListenError(`cannot listen on ${host}:${wanted}: ${reason}`, { cause: error })
  }
}
