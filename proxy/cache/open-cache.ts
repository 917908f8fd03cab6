import { statfs } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { CacheSection } from '../../config/model/config.js'
import { codeOf, reasonOf } from '../../base/errors.js'
import { mkdir } from '../../base/files/files-at-once.js'
import type { Logger } from '../../base/log/logger.js'
import type { ImportReport } from './archive/read-archive.js'
import { BufferPool } from './body/buffer-pool.js'
import type { Catalogue } from './store/catalogue.js'
import type { CacheOutcome, CacheRequest, FetchUpstream } from './contract/contract.js'
import type { CacheStats, ResponseCache } from './response-cache.js'
import { DiskCache } from './disk-cache.js'
import { Entries } from './store/entries.js'
import { CacheOffError } from './contract/errors.js'
import { Fills } from './fill/fills.js'
import { Incidents } from './contract/incidents.js'
import { lockDirectory } from './store/lock.js'
import { Reserve } from './store/reserve.js'
import { Store } from './store/store.js'
import { Tally } from './contract/tally.js'

interface CacheDeps {
  readonly logger: Logger
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Bytes that are free on the disk of a folder; asks the system unless given. @throws the system's error. */
  readonly freeBytes?: (dir: string) => Promise<number>
}

/**
 * The cache of a configuration. It answers at once, while its index still loads. Never rejects: where the
 * directory cannot be used, or is in use by another process, the log says why and nothing is cached.
 */
export async function openCache(section: CacheSection, deps: CacheDeps): Promise<ResponseCache> {
  const cache = new OnDemandCache(deps)
  await cache.reconfigure(section)
  return cache
}

/** A cache that covers nothing. */
export function noCache(): ResponseCache {
  return {
    catalogue: undefined,
    covers: () => false,
    respond: () => Promise.resolve({ kind: 'bypass' }),
    forwarded: () => undefined,
    stats: () => ({
      hits: 0,
      misses: 0,
      stores: 0,
      evictions: 0,
      errors: 0,
      current_size: 0,
      hit_rate: 0,
      memory_size: 0,
      rules: {},
    }),
    reconfigure: () => Promise.resolve(),
    clear: () => Promise.resolve({ entries: 0, bytes: 0 }),
    export: () => Promise.reject(new CacheOffError()),
    import: () => Promise.reject(new CacheOffError()),
    close: () => Promise.resolve(),
  }
}

/** Opens its directory when it is first switched on, and keeps it until it is closed. */
class OnDemandCache implements ResponseCache {
  readonly #deps: CacheDeps
  #cache = noCache()
  #isOpen = false

  constructor(deps: CacheDeps) {
    this.#deps = deps
  }

  async reconfigure(section: CacheSection): Promise<void> {
    if (this.#isOpen) return this.#cache.reconfigure(section)
    if (!section.enabled) return
    try {
      this.#cache = await openDirectory(section, this.#deps)
      this.#isOpen = true
    } catch (error) {
      const code = codeOf(error)
      this.#deps.logger.error(
        { dir: section.dir, reason: reasonOf(error), ...(code === undefined ? {} : { code }) },
        'cache is off: its directory cannot be used',
      )
    }
  }

  get catalogue(): Catalogue | undefined {
    return this.#cache.catalogue
  }

  covers(request: CacheRequest): boolean {
    return this.#cache.covers(request)
  }

  respond(request: CacheRequest, response: ServerResponse, fetch: FetchUpstream): Promise<CacheOutcome> {
    return this.#cache.respond(request, response, fetch)
  }

  forwarded(...exchange: Parameters<ResponseCache['forwarded']>): void {
    this.#cache.forwarded(...exchange)
  }

  stats(): CacheStats {
    return this.#cache.stats()
  }

  clear(): Promise<{ readonly entries: number; readonly bytes: number }> {
    return this.#cache.clear()
  }

  export(wants: (rule: string) => boolean): Promise<Readable> {
    return this.#cache.export(wants)
  }

  import(archive: Readable): Promise<ImportReport> {
    return this.#cache.import(archive)
  }

  close(): Promise<void> {
    return this.#cache.close()
  }
}

/** The cache in one directory. @throws CacheLockedError, or the system's error. */
export async function openDirectory(
  section: CacheSection,
  { logger, now, freeBytes = freeBytesOf }: CacheDeps,
): Promise<ResponseCache> {
  const { dir, max_size: maxSize, min_free: minFree, memory } = section
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const lock = await lockDirectory(dir)
  const { epoch } = lock
  const buffers = new BufferPool()
  const incidents = new Incidents(logger, now)
  const reserve: Reserve = new Reserve({
    minFree,
    freeBytes: () => freeBytes(dir),
    evict: (bytes) => entries.free(bytes),
    incidents,
  })
  const store = new Store(dir, (bytes) => reserve.claim(bytes))
  const entries: Entries = new Entries({ store, epoch, maxSize, memory, buffers, incidents, logger, now })
  const tally = new Tally()
  const fills = new Fills({ store, entries, epoch, reserve, incidents, tally, logger, now })
  return new DiskCache({ section, store, entries, fills, buffers, incidents, tally, lock, reserve, now })
}

/** What is reserved for root is not free to us. */
async function freeBytesOf(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir)
  return bavail * bsize
}
