import { shape } from '../../base/http/json-schema.js'
import { refuse, RefusedRequestError, sendJson } from '../../base/http/problem.js'
import type { Query, QueryParameter } from '../../base/http/query.js'
import type { Exchange, Route } from '../../base/http/route.js'
import type { Logger } from '../../base/log/logger.js'
import type { Catalogue, EntryFilter } from '../cache/store/catalogue.js'
import type { ResponseCache } from '../cache/response-cache.js'
import { CacheOffError } from '../cache/contract/errors.js'

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1000
/** As long as a request's head may be, which keys are made of. */
const MAX_KEY_LENGTH = 16_384

interface CacheRoutesDeps {
  readonly cache: ResponseCache
  readonly logger: Logger
}

const FILTERS = {
  key: {
    kind: 'text',
    filled: true,
    maxLength: MAX_KEY_LENGTH,
    description: 'the entry of exactly that key',
  },
  prefix: {
    kind: 'text',
    filled: true,
    maxLength: MAX_KEY_LENGTH,
    description: 'entries whose key, as it is shown, begins so',
  },
  rule: { kind: 'text', filled: true, description: 'entries that the rule has made' },
} as const satisfies Readonly<Record<string, QueryParameter>>

const CACHE_OFF = { 409: 'there is no cache (CACHE_OFF)' }

/** What is stored: looked at by anybody on this machine; checked and removed by who may use the proxy. */
export function cacheRoutes({ cache, logger }: CacheRoutesDeps): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/api/cache/stats',
      access: 'read',
      summary: 'Figures since the start, in all and for each rule',
      answers: { 200: { description: 'the figures', content: { 'application/json': shape('CacheStats') } } },
      handle: async ({ response }) => sendJson(response, cache.stats()),
    },
    {
      method: 'DELETE',
      path: '/api/cache',
      access: 'write',
      summary: 'Remove all entries',
      answers: {
        200: { description: 'what was removed', content: { 'application/json': shape('Removed') } },
      },
      handle: async ({ response }) => {
        const removed = await cache.clear()
        logger.info(removed, 'cache cleared')
        sendJson(response, { status: 'ok', ...removed })
      },
    },
    {
      method: 'GET',
      path: '/api/cache/entries',
      access: 'read',
      summary: 'What is stored, page by page',
      query: {
        ...FILTERS,
        limit: { kind: 'whole', min: 1, max: MAX_LIMIT, description: `${DEFAULT_LIMIT} when left out` },
        cursor: { kind: 'text', description: '`next` of the page before' },
      },
      answers: { 200: { description: 'a page', content: { 'application/json': shape('EntryPage') } } },
      problems: CACHE_OFF,
      handle: async ({ response, query }) => {
        const limit = query.whole('limit') ?? DEFAULT_LIMIT
        sendJson(response, await catalogueOf(cache).page(filterOf(query), limit, cursorOf(query)))
      },
    },
    {
      method: 'DELETE',
      path: '/api/cache/entries',
      access: 'write',
      summary: 'Remove entries',
      description: 'Wants one of the three at least.',
      query: FILTERS,
      answers: {
        200: { description: 'what was removed', content: { 'application/json': shape('Removed') } },
      },
      problems: CACHE_OFF,
      handle: (exchange) => removeEntries(exchange, cache, logger),
    },
    {
      method: 'GET',
      path: '/api/cache/verify',
      access: 'read',
      summary: 'How far the check of all entries is, or what came of it',
      answers: {
        200: { description: 'the last one', content: { 'application/json': shape('Verification') } },
      },
      problems: { ...CACHE_OFF, 404: 'nothing was checked since the start' },
      handle: async ({ response }) => sendJson(response, verificationOf(cache)),
    },
    {
      method: 'POST',
      path: '/api/cache/verify',
      access: 'write',
      summary: 'Begin to check all entries',
      answers: {
        200: {
          description: 'the one that is under way',
          content: { 'application/json': shape('Verification') },
        },
        202: { description: 'it has begun', content: { 'application/json': shape('Verification') } },
      },
      problems: CACHE_OFF,
      handle: async ({ response }) => {
        // Who asks twice is shown what is under way.
        const status = catalogueOf(cache).verify() ? 202 : 200
        sendJson(response, verificationOf(cache), status)
      },
    },
  ]
}

async function removeEntries(
  { response, query }: Exchange,
  cache: ResponseCache,
  logger: Logger,
): Promise<void> {
  const filter = filterOf(query)
  if (Object.keys(filter).length === 0)
    refuse(400, 'say which by key, prefix or rule; DELETE /api/cache removes all')
  const removed = await catalogueOf(cache).remove(filter)
  logger.info(removed, 'cache entries removed')
  sendJson(response, { status: 'ok', ...removed })
}

/** @throws RefusedRequestError */
function catalogueOf({ catalogue }: ResponseCache): Catalogue {
  if (catalogue !== undefined) return catalogue
  const { message, code } = new CacheOffError()
  throw new RefusedRequestError({ status: 409, detail: message, code })
}

function verificationOf(cache: ResponseCache): object {
  return catalogueOf(cache).verification ?? refuse(404, 'nothing was checked since the start; POST begins it')
}

function filterOf(query: Query): EntryFilter {
  const found = Object.keys(FILTERS).flatMap((name) => {
    const value = query.text(name)
    return value === undefined ? [] : [[name, value]]
  })
  return Object.fromEntries(found) as EntryFilter
}

/** @throws RefusedRequestError */
function cursorOf(query: Query): string | undefined {
  const cursor = query.text('cursor')
  if (cursor !== undefined && !/^[0-9a-f]{64}$/.test(cursor)) refuse(400, 'cursor must be the next of a page')
  return cursor
}
