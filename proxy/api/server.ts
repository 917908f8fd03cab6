import type { AccessTable } from '../../base/http/access.js'
import { requestGuard, type ForeignAnswers } from '../../base/http/request-guard.js'
import type { Route } from '../../base/http/route.js'
import { RouteServer } from '../../base/http/server.js'
import { entriesOf } from '../../base/process/entry.js'
import { codeOf, reasonOf } from '../../base/errors.js'
import { bindItself, type ListenAt } from '../../base/process/held-listeners.js'
import type { Logger } from '../../base/log/logger.js'
import { ERROR_OBJECT } from './error-object.js'

/** A control request's head is small. */
const HEADERS_LIMIT_MS = 10_000
/** A body that is read as a whole comes from this machine, in one piece. */
const BODY_LIMIT_MS = 10_000
/** Node looks for slow requests every 30 s by itself, which would make 40 s of the limit. */
const CHECKS_PER_LIMIT = 5

export interface ApiOptions {
  readonly host: string
  readonly port: number
  /** Binds for itself unless given. */
  readonly listenAt?: ListenAt
  readonly routes: readonly Route[]
  readonly access: AccessTable
  readonly logger: Logger
  /** 10 s unless given. */
  readonly headersLimitMs?: number
}

const OTHER_HOST = { status: 403, detail: 'the Host header must be localhost, 127.0.0.1 or [::1]' }
const OTHER_PAGE = { status: 403, detail: 'requests from web pages of other origins are refused' }

/** A page in a browser of this container could reach us, by DNS rebinding or from a page of its own. */
const FOREIGN: ForeignAnswers = {
  'no-host': () => OTHER_HOST,
  'other-host': () => OTHER_HOST,
  'other-page': () => OTHER_PAGE,
}

/** 17081: health, figures and control for those on this machine, and nobody else. */
export class ApiServer {
  readonly #server: RouteServer
  readonly #options: ApiOptions

  constructor(options: ApiOptions) {
    const { host, routes, access, logger, headersLimitMs = HEADERS_LIMIT_MS } = options
    this.#options = options
    this.#server = new RouteServer({
      routes,
      access,
      elsewhere: 'open',
      answersOptions: true,
      namesRoutes: true,
      guard: requestGuard(host, FOREIGN),
      problems: ERROR_OBJECT,
      spareBodies: 'discarded',
      bodyTimeoutMs: BODY_LIMIT_MS,
      headersTimeoutMs: headersLimitMs,
      checkIntervalMs: headersLimitMs / CHECKS_PER_LIMIT,
      entry: entriesOf('proxy API', logger),
      failed: ({ error, request, began, expected }) => {
        const told = { path: (request.url ?? '').split('?', 1)[0], reason: reasonOf(error) }
        if (!expected && began) logger.warn(told, 'a control answer broke off')
        else if (!expected) logger.error(told, 'cannot answer a control request')
        return { status: 500, detail: reasonOf(error) }
      },
      troubled: (error) => logger.error({ code: codeOf(error) }, 'cannot accept a control connection'),
    })
  }

  /** Resolves with the port in use. @throws the system's error when it cannot listen. */
  start(): Promise<number> {
    const { host, port, listenAt = bindItself } = this.#options
    return this.#server.listen(listenAt(host, port))
  }

  /** Resolves when the last connection is closed. */
  stop(): Promise<void> {
    return this.#server.cut()
  }
}
