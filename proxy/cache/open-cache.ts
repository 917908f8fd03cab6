import { mkdir } from 'node:fs/promises'
import type { CacheSection } from '../../config/config.js'
import { codeOf, reasonOf } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import { BufferPool } from './buffer-pool.js'
import type { ResponseCache } from './contract.js'
import { DiskCache } from './disk-cache.js'
import { Entries } from './entries.js'
import { Fills } from './fills.js'
import { Incidents } from './incidents.js'
import { lockDirectory } from './lock.js'
import { compileRules } from './rules.js'
import { Store } from './store.js'

export interface CacheDeps {
  readonly logger: Logger
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * The cache of a configuration. It answers at once, while its index still loads. Never rejects: where the
 * directory cannot be used, or is in use by another process, the log says why and nothing is cached.
 */
export async function openCache(section: CacheSection, deps: CacheDeps): Promise<ResponseCache> {
  if (!section.enabled) return noCache()
  try {
    return await openDirectory(section, deps)
  } catch (error) {
    const code = codeOf(error)
    deps.logger.error(
      { dir: section.dir, reason: reasonOf(error), ...(code === undefined ? {} : { code }) },
      'cache is off: its directory cannot be used',
    )
    return noCache()
  }
}

async function openDirectory(section: CacheSection, { logger, now }: CacheDeps): Promise<ResponseCache> {
  const { dir, max_size: maxSize } = section
  const rules = compileRules(section.patterns)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const lock = await lockDirectory(dir)
  const { epoch } = lock
  const store = new Store(dir)
  const buffers = new BufferPool()
  const incidents = new Incidents(logger, now)
  const entries = new Entries({ store, epoch, maxSize, buffers, incidents, logger, now })
  const fills = new Fills({ store, entries, epoch, maxSize, incidents, logger, now })
  return new DiskCache({ rules, entries, fills, buffers, incidents, lock, now })
}

/** A cache that covers nothing. */
export function noCache(): ResponseCache {
  return {
    covers: () => false,
    respond: () => Promise.resolve({ kind: 'bypass' }),
    stats: () => ({ hits: 0, misses: 0, stores: 0, evictions: 0, errors: 0, current_size: 0, hit_rate: 0 }),
    clear: () => Promise.resolve({ entries: 0, bytes: 0 }),
    close: () => Promise.resolve(),
  }
}
