import { shape } from '../../base/http/json-schema.js'
import { RefusedRequestError, sendJson } from '../../base/http/problem.js'
import type { Route } from '../../base/http/route.js'
import { sendStream } from '../../base/http/send-stream.js'
import type { Logger } from '../../base/log/logger.js'
import type { ResponseCache } from '../cache/response-cache.js'
import { ArchiveError, CacheOffError } from '../cache/contract/errors.js'

const TAR_TYPE = 'application/x-tar'

interface ArchiveDeps {
  readonly cache: ResponseCache
  readonly logger: Logger
}

const CACHE_OFF = { 409: 'there is no cache (CACHE_OFF)' }

/** The store as a tar, out and in. With the token: what is taken in is served to everybody. */
export function archiveRoutes({ cache, logger }: ArchiveDeps): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/api/cache/export',
      access: 'token',
      summary: 'The cache as a tar',
      query: { rule: { kind: 'texts', description: 'only entries of these rules' } },
      answers: { 200: { description: 'the tar, as it is made', content: { [TAR_TYPE]: {} } } },
      problems: CACHE_OFF,
      handle: async ({ response, query }) => {
        const rules = query.texts('rule')
        const wants = (rule: string): boolean => rules.length === 0 || rules.includes(rule)
        await sendStream(response, await cache.export(wants).catch(refused), TAR_TYPE)
      },
    },
    {
      method: 'POST',
      path: '/api/cache/import',
      access: 'token',
      summary: 'Take the entries of a tar into the cache',
      body: {
        description: 'as `/api/cache/export` makes it',
        content: { [TAR_TYPE]: {} },
        // Each entry is held to the store's own size.
        maxBytes: Infinity,
      },
      answers: {
        200: { description: 'what was taken', content: { 'application/json': shape('ImportReport') } },
      },
      problems: {
        ...CACHE_OFF,
        422: 'the tar is not one of a cache (CACHE_ARCHIVE_INVALID)',
      },
      handle: async ({ request, response }) => {
        const report = await cache.import(request).catch(refused)
        logger.info({ ...report, damaged_keys: undefined }, 'cache import ended')
        sendJson(response, report)
      },
    },
  ]
}

/** @throws RefusedRequestError for what a client can do something about. */
function refused(error: unknown): never {
  if (error instanceof CacheOffError || error instanceof ArchiveError) {
    const status = error instanceof CacheOffError ? 409 : 422
    throw new RefusedRequestError({ status, detail: error.message, code: error.code }, { cause: error })
  }
  throw error
}
