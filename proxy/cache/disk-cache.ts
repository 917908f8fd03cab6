import type { Readable } from 'node:stream'
import type { CacheSection } from '../../config/model/config.js'
import type { ClientResponse } from '../message/message.js'
import type { ImportReport } from './archive/read-archive.js'
import { Answers } from './answer/answers.js'
import { askOf, inSharedWords, notStored, type Ask } from './answer/ask.js'
import type { BufferPool } from './body/buffer-pool.js'
import { Catalogue } from './store/catalogue.js'
import { changedBy } from './rules/changed-by.js'
import { Client } from './body/client.js'
import type { CacheOutcome, CacheRequest, FetchUpstream, UpstreamResponse } from './contract/contract.js'
import type { CacheStats, ResponseCache, RuleStats } from './response-cache.js'
import type { Entries } from './store/entries.js'
import type { Fills } from './fill/fills.js'
import type { Incidents } from './contract/incidents.js'
import { entryKey } from './rules/key.js'
import type { DirectoryLock } from './store/lock.js'
import { Reader } from './body/reader.js'
import type { Reserve } from './store/reserve.js'
import type { Store } from './store/store.js'
import type { Covering } from './rules/rules.js'
import { compileCacheSettings, type CacheSettings } from './answer/settings.js'
import type { Tally } from './contract/tally.js'

const BYPASS: CacheOutcome = { kind: 'bypass' }

interface DiskCacheOptions {
  readonly section: CacheSection
  readonly store: Store
  readonly entries: Entries
  readonly fills: Fills
  readonly buffers: BufferPool
  readonly incidents: Incidents
  readonly tally: Tally
  readonly lock: DirectoryLock
  readonly reserve: Reserve
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * A hit is a request answered without a body being fetched for it: from an entry, or from a fill that somebody
 * else's request began. A miss is one that began a fill. Requests that may not be answered from a store count as
 * neither, so `misses` is the number of bodies fetched.
 */
export class DiskCache implements ResponseCache {
  readonly catalogue: Catalogue
  readonly #options: DiskCacheOptions
  readonly #answers: Answers
  readonly #readers = new Set<Reader>()
  readonly #answering = new Set<Promise<unknown>>()
  #settings: CacheSettings
  #latest: { readonly request: CacheRequest; readonly covering: Covering | undefined } | undefined
  #closing: Promise<void> | undefined

  constructor(options: DiskCacheOptions) {
    this.#options = options
    this.catalogue = new Catalogue(options)
    this.#answers = new Answers(options)
    this.#settings = compileCacheSettings(options.section)
  }

  covers(request: CacheRequest): boolean {
    return this.#settings.offline || this.#covering(request) !== undefined
  }

  async respond(
    request: CacheRequest,
    response: ClientResponse,
    fetchUpstream: FetchUpstream,
  ): Promise<CacheOutcome> {
    const settings = this.#settings
    if (this.#closing !== undefined) return BYPASS
    const covering = this.#covering(request)
    if (covering === undefined) {
      if (settings.offline) throw notStored(request, settings)
      return BYPASS
    }
    const ask = askOf(request, covering, settings)
    const served = this.#answers.answerFromMemory(ask, response)
    if (served === undefined) return this.#answer(ask, response, fetchUpstream)
    this.#options.tally.served(ask.rule.name, served.bytes)
    return served
  }

  async #answer(ask: Ask, response: ClientResponse, fetchUpstream: FetchUpstream): Promise<CacheOutcome> {
    const { tally, buffers } = this.#options
    const client = new Client(response)
    const reader = new Reader(client, buffers)
    this.#readers.add(reader)
    const answering = this.#answers.answer(ask, client, reader, inSharedWords(ask, fetchUpstream))
    this.#answering.add(answering)
    try {
      return await answering
    } finally {
      tally.served(ask.rule.name, reader.sent)
      this.#answering.delete(answering)
      this.#readers.delete(reader)
      client.release()
    }
  }

  forwarded(request: CacheRequest, answer: Pick<UpstreamResponse, 'status' | 'rawHeaders'>): void {
    const { entries, fills } = this.#options
    for (const changed of changedBy(request, answer)) {
      const covering = this.#settings.rules.find(changed)
      // What a digest fixes cannot have changed.
      if (covering === undefined || covering.digest !== undefined) continue
      const { name } = entryKey(changed, covering)
      fills.discard(name)
      entries.forget(name)
    }
  }

  /** Asked twice of each request, one right after the other. */
  #covering(request: CacheRequest): Covering | undefined {
    if (this.#latest?.request !== request) {
      const covering = isReading(request) ? this.#settings.rules.find(request) : undefined
      this.#latest = { request, covering }
    }
    return this.#latest.covering
  }

  stats(): CacheStats {
    const { entries, fills, incidents, tally } = this.#options
    const { hits, misses } = tally
    return {
      hits,
      misses,
      stores: fills.stores,
      evictions: entries.evictions,
      errors: incidents.count,
      current_size: entries.bytes,
      hit_rate: hits + misses === 0 ? 0 : Math.round((hits / (hits + misses)) * 1000) / 1000,
      memory_size: entries.memory,
      rules: Object.fromEntries(this.#ruleNames().map((name) => [name, this.#ruleStats(name)])),
    }
  }

  #ruleNames(): string[] {
    const { entries, tally } = this.#options
    return [...new Set([...this.#settings.rules.names, ...tally.rules, ...entries.rules])]
  }

  #ruleStats(rule: string): RuleStats {
    const { entries, tally } = this.#options
    const { entries: count, bytes } = entries.stock(rule)
    return { ...tally.figures(rule), entries: count, current_size: bytes }
  }

  reconfigure(section: CacheSection): Promise<void> {
    this.#settings = compileCacheSettings(section)
    this.#latest = undefined
    this.#options.entries.resize({ maxSize: section.max_size, memory: section.memory })
    this.#options.reserve.resize(section.min_free)
    return Promise.resolve()
  }

  clear(): Promise<{ entries: number; bytes: number }> {
    return this.#options.entries.clear()
  }

  async export(wants: (rule: string) => boolean): Promise<Readable> {
    const { store, entries, incidents } = this.#options
    // As with import: nothing of it is needed to serve.
    const { writeArchive } = await import('./archive/write-archive.js')
    const names = await entries.names()
    return writeArchive({
      names,
      wants,
      open: (name) => store.open(name),
      onUnreadable: (entry, error) =>
        incidents.report('cache entry left out of the export', error, { entry }),
    })
  }

  async import(archive: Readable): Promise<ImportReport> {
    const { store, entries, lock } = this.#options
    const { readArchive } = await import('./archive/read-archive.js')
    await entries.ready
    return readArchive(archive, {
      has: (name) => entries.has(name),
      maxBodyBytes: entries.maxSize,
      createTemp: (name) => store.createTemp(name),
      // Checked by us a moment ago.
      keep: (name, body, meta) => entries.keep(name, body, { ...meta, epoch: lock.epoch }),
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { fills, entries, incidents, lock, reserve } = this.#options
    const filled = fills.close()
    for (const reader of this.#readers) reader.abort('the proxy is stopping')
    await Promise.allSettled(this.#answering)
    await filled
    await Promise.all([reserve.close(), this.catalogue.close()])
    await entries.close()
    // Not released, it is taken over by the next start, which then checks what it serves.
    await lock.release().catch((error: unknown) => incidents.report('cache lock cannot be released', error))
  }
}

/** What a store can answer at all. */
function isReading({ method }: CacheRequest): boolean {
  return method === 'GET' || method === 'HEAD'
}
