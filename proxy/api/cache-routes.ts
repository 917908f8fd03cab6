import type { Logger } from '../../config/logger.js'
import type { Catalogue, EntryFilter } from '../cache/catalogue.js'
import type { ResponseCache } from '../cache/response-cache.js'
import { CacheOffError } from '../cache/errors.js'
import { refuse, ReplyError, type Reply, type Routes } from './routes.js'
import type { UseCheck } from './use-check.js'

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1000
const FILTERS = ['key', 'prefix', 'rule'] as const

interface CacheRoutesDeps {
  readonly cache: ResponseCache
  readonly mayUse: UseCheck
  readonly logger: Logger
}

/** What is stored: looked at by anybody on this machine; checked and removed by who may use the proxy. */
export function cacheRoutes({ cache, mayUse, logger }: CacheRoutesDeps): Routes {
  return {
    '/api/cache/stats': {
      GET: () => ({ status: 200, body: cache.stats() }),
    },
    '/api/cache': {
      DELETE: async ({ message }) => {
        mayUse(message)
        const removed = await cache.clear()
        logger.info(removed, 'cache cleared')
        return { status: 200, body: { status: 'ok', ...removed } }
      },
    },
    '/api/cache/entries': {
      GET: async ({ query }) => {
        assertKnown(query, [...FILTERS, 'limit', 'cursor'])
        const page = catalogueOf(cache).page(filterOf(query), limitOf(query), cursorOf(query))
        return { status: 200, body: await page }
      },
      DELETE: async ({ message, query }) => {
        mayUse(message)
        assertKnown(query, FILTERS)
        const filter = filterOf(query)
        if (Object.keys(filter).length === 0) {
          refuse(400, 'say which by key, prefix or rule; DELETE /api/cache removes all')
        }
        const removed = await catalogueOf(cache).remove(filter)
        logger.info(removed, 'cache entries removed')
        return { status: 200, body: { status: 'ok', ...removed } }
      },
    },
    '/api/cache/verify': {
      GET: () => verification(cache, 200),
      // Who asks twice is shown what is under way.
      POST: ({ message }) => {
        mayUse(message)
        return verification(cache, catalogueOf(cache).verify() ? 202 : 200)
      },
    },
  }
}

/** @throws ReplyError */
function catalogueOf({ catalogue }: ResponseCache): Catalogue {
  if (catalogue !== undefined) return catalogue
  const { message, code } = new CacheOffError()
  throw new ReplyError({ status: 409, body: { error: message, code } })
}

function verification(cache: ResponseCache, status: number): Reply {
  const report = catalogueOf(cache).verification
  if (report === undefined) refuse(404, 'nothing was checked since the start; POST begins it')
  return { status, body: report }
}

/** @throws ReplyError: a misspelt filter must not pass for none. */
function assertKnown(query: URLSearchParams, known: readonly string[]): void {
  const names = [...query.keys()]
  const wrong = names.find((name, at) => !known.includes(name) || names.indexOf(name) !== at)
  if (wrong === undefined) return
  const problem = known.includes(wrong) ? 'repeated' : 'unknown'
  refuse(400, `${problem} query parameter ${JSON.stringify(wrong)}; known: ${known.join(', ')}`)
}

/** @throws ReplyError: an empty one would mean everything. */
function filterOf(query: URLSearchParams): EntryFilter {
  const filter: Record<string, string> = {}
  for (const name of FILTERS) {
    const value = query.get(name)
    if (value === '') refuse(400, `${name} must not be empty`)
    if (value !== null) filter[name] = value
  }
  return filter
}

/** @throws ReplyError */
function limitOf(query: URLSearchParams): number {
  const text = query.get('limit')
  if (text === null) return DEFAULT_LIMIT
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (limit < 1 || limit > MAX_LIMIT) refuse(400, `limit must be a number from 1 to ${MAX_LIMIT}`)
  return limit
}

/** @throws ReplyError */
function cursorOf(query: URLSearchParams): string | undefined {
  const cursor = query.get('cursor') ?? undefined
  if (cursor !== undefined && !/^[0-9a-f]{64}$/.test(cursor)) refuse(400, 'cursor must be the next of a page')
  return cursor
}
