import { readCommandLine } from '../config/command-line.js'
import type { EntryPage } from './cache/catalogue.js'
import type { CacheStats } from './cache/response-cache.js'
import { askApi, readJson } from './warm/api-client.js'
import { WarmApiError, WarmUsageError } from './warm/command-errors.js'
import { apiPort } from './warm/prewarm-command.js'
import { formatBytes } from './warm/progress.js'

export const CACHE_USAGE = `Usage: discobot-proxy cache [--api-port PORT] [--json]

Says what the cache of the running proxy has saved since its start, in all and by rule, and which of the things it
keeps are the largest.

      --api-port N    of the proxy's API (17081)
      --json          the figures of GET /api/cache/stats

Exit code: 0, 1 when the proxy does not answer, 2 wrong usage.
`

/** Pages of a thousand entries that are looked through for the largest; a larger cache is told of in part. */
const MAX_PAGES = 50
const LARGEST = 5
/** Columns of the narrowest terminal in use. */
const WIDTH = 80

/**
 * `cache`; resolves with what is printed.
 *
 * @param args after the word `cache`
 * @throws CommandLineError, WarmUsageError, WarmApiError
 */
export async function cacheCommand(args: readonly string[]): Promise<string> {
  const { values, positionals } = readCommandLine(args, {
    'api-port': { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  })
  if (values.help === true) return CACHE_USAGE
  if (positionals.length > 0) throw new WarmUsageError('cannot show that: cache takes options only')
  const port = apiPort(values['api-port'])
  const get = async (path: string): Promise<unknown> => readJson(await askApi(port, { method: 'GET', path }))
  const stats = (await get('/api/cache/stats')) as CacheStats
  if (values.json === true) return `${JSON.stringify(stats, null, 2)}\n`
  return `${[...inAll(stats), ...byRule(stats), ...(await largest(get))].join('\n')}\n`
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

function byRule({ rules }: CacheStats): readonly string[] {
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
  return ['', ...table([['RULE', 'HIT RATE', 'HITS', 'MISSES', 'SAVED', 'STORED'], ...rows])]
}

async function largest(get: (path: string) => Promise<unknown>): Promise<readonly string[]> {
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
  return ['', title, ...found.map(({ size, key }) => `${formatBytes(size).padStart(9)}  ${shortened(key)}`)]
}

/** The end of a key tells more than its middle. */
function shortened(key: string): string {
  const room = WIDTH - '999.9 MB  '.length - 2
  // Keys hold what clients asked for, which a terminal must not obey.
  const shown = key.replace(/[^\x20-\x7e]/g, '?')
  if (shown.length <= room) return shown
  const half = Math.floor((room - 1) / 2)
  return `${shown.slice(0, half)}…${shown.slice(-half)}`
}

function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  )
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  )
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
