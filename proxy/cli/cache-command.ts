import { table, type Column, type TableLook } from '../../base/cli/table.js'
import { PROXY_API_PORT } from '../../config/model/paths.js'
import type { EntryPage } from '../cache/store/catalogue.js'
import type { CacheStats } from '../cache/response-cache.js'
import { askApi, readJson } from './api-client.js'
import { WarmApiError } from './errors.js'
import { formatBytes } from './progress.js'

/** Pages of a thousand entries that are looked through for the largest; a larger cache is told of in part. */
const MAX_PAGES = 50
const LARGEST = 5
export interface CacheQuestion {
  readonly apiPort: number | undefined
  readonly json: boolean
}

/** `cache`; resolves with what is printed. @throws WarmApiError */
export async function describeCache(
  { apiPort = PROXY_API_PORT, json }: CacheQuestion,
  look: TableLook,
): Promise<string> {
  const get = async (path: string): Promise<unknown> =>
    readJson(await askApi(apiPort, { method: 'GET', path }))
  const stats = (await get('/api/cache/stats')) as CacheStats
  if (json) return `${JSON.stringify(stats, null, 2)}\n`
  return `${[...inAll(stats), ...byRule(stats, look), ...(await largest(get, look))].join('\n')}\n`
}

function inAll({ hits, misses, hit_rate, current_size, rules }: CacheStats): readonly string[] {
  const figures = Object.values(rules)
  const sum = (of: (one: (typeof figures)[number]) => number): number =>
    figures.reduce((total, one) => total + of(one), 0)
  const saved = Math.max(0, sum((one) => one.bytes_served) - sum((one) => one.bytes_fetched))
  return [
    `hit rate  ${percent(hit_rate)}: ${hits} hits, ${misses} misses since the proxy started`,
    `saved     ${formatBytes(saved)} that were not fetched again`,
    `stored    ${formatBytes(current_size)} in ${sum((one) => one.entries)} entries`,
  ]
}

const RULE_COLUMNS: readonly Column[] = [
  { title: 'RULE', narrow: 'cut' },
  { title: 'HIT RATE', right: true },
  { title: 'HITS', right: true },
  { title: 'MISSES', right: true },
  { title: 'SAVED', right: true },
  { title: 'STORED', right: true },
]

function byRule({ rules }: CacheStats, look: TableLook): readonly string[] {
  const used = Object.entries(rules)
    .filter(([, { hits, misses, entries }]) => hits + misses + entries > 0)
    .sort(([, a], [, b]) => b.bytes_served - a.bytes_served)
  if (used.length === 0) return []
  const rows = used.map(([name, { hits, misses, bytes_served, bytes_fetched, current_size }]) => [
    name,
    percent(hits / Math.max(1, hits + misses)),
    String(hits),
    String(misses),
    formatBytes(Math.max(0, bytes_served - bytes_fetched)),
    formatBytes(current_size),
  ])
  return ['', ...table(RULE_COLUMNS, rows, look)]
}

async function largest(get: (path: string) => Promise<unknown>, look: TableLook): Promise<readonly string[]> {
  let found: EntryPage['entries'] = []
  let cursor: string | undefined
  let pages = 0
  do {
    const page = (await get(
      `/api/cache/entries?limit=1000${cursor === undefined ? '' : `&cursor=${cursor}`}`,
    ).catch((error: unknown) => {
      // There is nothing to list where there is no cache, which the figures above show.
      if (error instanceof WarmApiError) return { entries: [] }
      throw error
    })) as EntryPage
    found = [...found, ...page.entries].sort((a, b) => b.size - a.size).slice(0, LARGEST)
    cursor = page.next ?? undefined
    pages += 1
  } while (cursor !== undefined && pages < MAX_PAGES)
  if (found.length === 0) return []
  const title = cursor === undefined ? 'LARGEST' : `LARGEST of the first ${MAX_PAGES * 1000}`
  const columns: readonly Column[] = [
    { title: 'SIZE', right: true },
    { title, narrow: 'cut' },
  ]
  const rows = found.map(({ size, key }) => [formatBytes(size), shown(key)])
  return ['', ...table(columns, rows, look)]
}

/** Keys hold what clients asked for, which a terminal must not obey. */
function shown(key: string): string {
  return key.replace(/[^\x20-\x7e]/g, '?')
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
