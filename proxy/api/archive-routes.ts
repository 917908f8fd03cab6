import { type DiscobotError } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import type { ResponseCache } from '../cache/response-cache.js'
import { ArchiveError, CacheOffError } from '../cache/errors.js'
import { requireType } from './body.js'
import { ReplyError, refuse, StreamBody, type Routes } from './routes.js'
import { authorize, type TokenCheck } from './token.js'

const TAR_TYPE = 'application/x-tar'

interface ArchiveDeps {
  readonly cache: ResponseCache
  readonly token: TokenCheck
  readonly logger: Logger
}

/** The store as a tar, out and in. With the token: what is taken in is served to everybody. */
export function archiveRoutes({ cache, token, logger }: ArchiveDeps): Routes {
  return {
    '/api/cache/export': {
      GET: async ({ message, query }) => {
        authorize(message, token)
        const rules = query.getAll('rule')
        const unknown = [...query.keys()].find((name) => name !== 'rule')
        if (unknown !== undefined)
          refuse(400, `unknown query parameter ${JSON.stringify(unknown)}; known: rule`)
        const wants = (rule: string): boolean => rules.length === 0 || rules.includes(rule)
        const archive = await cache.export(wants).catch(refused)
        return { status: 200, body: new StreamBody(archive, TAR_TYPE) }
      },
    },
    '/api/cache/import': {
      POST: async ({ message }) => {
        authorize(message, token)
        requireType(message, [TAR_TYPE])
        const report = await cache.import(message).catch(refused)
        logger.info({ ...report, damaged_keys: undefined }, 'cache import ended')
        return { status: 200, body: report }
      },
    },
  }
}

/** @throws ReplyError for what a client can do something about. */
function refused(error: unknown): never {
  if (error instanceof CacheOffError || error instanceof ArchiveError) {
    const status = error instanceof CacheOffError ? 409 : 422
    throw new ReplyError({ status, body: { error: (error as DiscobotError).message, code: error.code } })
  }
  throw error
}
