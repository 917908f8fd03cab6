import { LRUCache } from 'lru-cache'
import { codeOf } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import type { BufferPool } from './buffer-pool.js'
import { CorruptEntryError } from './errors.js'
import { fileDigest } from './file-digest.js'
import type { Incidents } from './incidents.js'
import type { EntryMeta } from './meta.js'
import type { Store, StoredEntry } from './store.js'
import type { TempBody } from './temp-body.js'

/** A use is written to disk at most this often per entry: order after a restart is right to the minute. */
const TOUCH_INTERVAL_MS = 60_000

/** Files looked at or removed side by side; Node's thread pool has 4 threads, and hits need them too. */
const PARALLEL_FILES = 2

export interface EntriesOptions {
  readonly store: Store
  /** Entries of another epoch are checked before they are first served. */
  readonly epoch: string
  /** Bytes on disk. */
  readonly maxSize: number
  readonly buffers: BufferPool
  readonly incidents: Incidents
  readonly logger: Logger
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * Which entries exist, and which go when there is no more room: least recently used first. The disk is the truth;
 * the index in memory holds a name and a size for each, and nothing else.
 */
export class Entries {
  readonly #options: EntriesOptions
  readonly #index: LRUCache<string, number>
  #maxSize: number
  readonly #checks = new Map<string, Promise<void>>()
  readonly #touches = new Set<Promise<void>>()
  readonly #doomed = new Set<string>()
  #removing: Promise<void> | undefined
  readonly #swept: Promise<readonly string[]>
  readonly #ready: Promise<void>
  #loaded = false
  #closing = false
  #evictions = 0
  /** Counts entries made, so that a lookup notices one. */
  #admitted = 0

  constructor(options: EntriesOptions) {
    this.#options = options
    this.#maxSize = options.maxSize
    this.#index = new LRUCache<string, number>({
      // Ours may change while it runs, the one of lru-cache cannot.
      maxSize: Number.MAX_SAFE_INTEGER,
      sizeCalculation: (footprint) => footprint,
      disposeAfter: (_footprint, name, reason) => {
        if (reason === 'evict') this.#evict(name)
      },
    })
    this.#swept = this.#sweep()
    this.#ready = this.#load()
  }

  get bytes(): number {
    return this.#index.calculatedSize
  }

  /** Bytes on disk. */
  get maxSize(): number {
    return this.#maxSize
  }

  get evictions(): number {
    return this.#evictions
  }

  /** Resolves when the index knows all entries; lookups need not wait for it. */
  get ready(): Promise<void> {
    return this.#ready
  }

  /** Whether the entry is known to exist; while the index loads, false says nothing. */
  has(name: string): boolean {
    return this.#index.has(name)
  }

  /** Evicts what no longer fits, least recently used first; those being read are read to their end. */
  resize(maxSize: number): void {
    this.#maxSize = maxSize
    this.#trim()
  }

  /** Opens an entry and counts it as used; the caller closes its body. A bad one is dropped and not found. */
  async find(name: string, key: string): Promise<StoredEntry | undefined> {
    if (this.#loaded && !this.#index.has(name)) return undefined
    const admittedBefore = this.#admitted
    let entry: StoredEntry | undefined
    try {
      entry = await this.#options.store.open(name, key)
      if (entry !== undefined) await this.#ensureChecked(name, entry)
    } catch (error) {
      await entry?.body.close()
      if (isShortage(error)) this.#options.incidents.report('cache entry cannot be opened', error)
      else this.drop(name, error)
      return undefined
    }
    if (entry !== undefined) this.#use(name, entry)
    // Its files were taken away by somebody; unless they were made anew just now.
    else if (this.#admitted === admittedBefore) this.#index.delete(name)
    return entry
  }

  /** Writes the meta of an entry anew, which upstream has confirmed. @throws the system's error. */
  async confirm(name: string, meta: EntryMeta): Promise<void> {
    if (this.#loaded && !this.#index.has(name)) return
    const footprint = await this.#options.store.replaceMeta(name, meta, this.#options.now())
    if (this.#index.has(name)) this.#index.set(name, footprint)
  }

  /** Makes an entry of a complete body and evicts what it displaces. @throws the system's error. */
  async keep(name: string, body: TempBody, meta: EntryMeta): Promise<void> {
    await this.#swept
    // What waited to be removed is replaced; a removal that has begun is waited for by the store.
    this.#doomed.delete(name)
    const footprint = await this.#options.store.commit(name, body, meta)
    this.#admit(name, footprint)
  }

  /** Removes an entry that turned out to be wrong. */
  drop(name: string, error: unknown): void {
    this.#options.incidents.report('cache entry dropped', error, { entry: name })
    this.forget(name)
  }

  /** Removes an entry that upstream no longer has. */
  forget(name: string): void {
    this.#index.delete(name)
    this.#remove(name)
  }

  /** Removes every entry there is now; those being read are read to their end. */
  async clear(): Promise<{ entries: number; bytes: number }> {
    await this.#ready
    const names = [...this.#index.keys()]
    let entries = 0
    let bytes = 0
    await this.#each(names, async (name) => {
      const footprint = this.#index.peek(name)
      if (footprint === undefined) return
      this.#index.delete(name)
      await this.#options.store.remove(name)
      entries += 1
      bytes += footprint
    })
    return { entries, bytes }
  }

  /** Resolves when nothing of ours is under way in the directory. */
  async close(): Promise<void> {
    this.#closing = true
    await this.#ready
    await Promise.all(this.#touches)
    await this.#removing
  }

  async #sweep(): Promise<readonly string[]> {
    try {
      const { names, leftovers } = await this.#options.store.sweep()
      if (leftovers > 0) this.#options.logger.info({ files: leftovers }, 'cache: removed files of a crash')
      return names
    } catch (error) {
      this.#options.incidents.report('cache directory cannot be listed', error)
      return []
    }
  }

  async #load(): Promise<void> {
    const found: { name: string; footprint: number; lastUsedAt: number }[] = []
    await this.#each(await this.#swept, async (name) => {
      if (this.#closing) return
      const measured = await this.#options.store.measure(name)
      if (measured !== undefined) found.push({ name, ...measured })
    })
    if (this.#closing) return
    this.#merge(found.filter(({ name }) => !this.#index.has(name)))
    this.#loaded = true
  }

  /** Adds entries from the disk behind those that were used or made while it was listed. */
  #merge(found: { name: string; footprint: number; lastUsedAt: number }[]): void {
    found.sort((one, other) => other.lastUsedAt - one.lastUsedAt)
    let room = this.#maxSize - this.#index.calculatedSize
    const fits = found.findIndex(({ footprint }) => (room -= footprint) < 0)
    const kept = fits === -1 ? found : found.slice(0, fits)
    const usedMeanwhile = [...this.#index.keys()].reverse()
    for (const { name, footprint } of kept.reverse()) this.#index.set(name, footprint)
    for (const name of usedMeanwhile) this.#index.get(name)
    for (const { name } of found.slice(kept.length)) this.#evict(name)
  }

  #admit(name: string, footprint: number): void {
    this.#admitted += 1
    if (footprint > this.#maxSize) {
      // In the index, it would drive out everything else first.
      this.#index.delete(name)
      this.#evict(name)
      return
    }
    this.#index.set(name, footprint)
    this.#trim()
  }

  #trim(): void {
    while (this.#index.calculatedSize > this.#maxSize) this.#index.pop()
  }

  #evict(name: string): void {
    this.#evictions += 1
    this.#remove(name)
  }

  #use(name: string, { footprint, lastUsedAt }: StoredEntry): void {
    // Absent though loaded: evicted since it was opened.
    if (this.#index.get(name) === undefined && !this.#loaded) {
      this.#index.set(name, footprint)
      this.#trim()
    }
    const now = this.#options.now()
    if (now - lastUsedAt < TOUCH_INTERVAL_MS) return
    // Failing to note a use costs a place in the order and nothing else.
    const touch = this.#options.store.touch(name, now).catch(() => undefined)
    this.#touches.add(touch)
    void touch.then(() => this.#touches.delete(touch))
  }

  /** @throws CorruptEntryError, or the system's error, when the body is not what it was. */
  async #ensureChecked(name: string, entry: StoredEntry): Promise<void> {
    if (entry.meta.epoch === this.#options.epoch) return
    const running = this.#checks.get(name)
    if (running !== undefined) return running
    const check = this.#check(name, entry).finally(() => this.#checks.delete(name))
    this.#checks.set(name, check)
    await check
  }

  async #check(name: string, { meta, body, lastUsedAt }: StoredEntry): Promise<void> {
    const { store, buffers, epoch } = this.#options
    const [algorithm = ''] = meta.digest.split(':', 1)
    const digest = await fileDigest(body, meta.size, algorithm, buffers)
    if (digest !== meta.digest) throw new CorruptEntryError(name, `its body is ${digest}, not ${meta.digest}`)
    // Where this cannot be written, the next reader checks again.
    await store.replaceMeta(name, { ...meta, epoch }, lastUsedAt).catch(() => undefined)
  }

  /** One at a time: a lowered `max_size` may doom a hundred thousand at once, and hits use the same pool. */
  #remove(name: string): void {
    this.#doomed.add(name)
    this.#removing ??= this.#removeDoomed()
  }

  async #removeDoomed(): Promise<void> {
    // So that the caller has noted that we are at it before we can be done.
    await Promise.resolve()
    for (const name of this.#doomed) {
      this.#doomed.delete(name)
      // Taken in again before its turn came.
      if (this.#index.has(name)) continue
      await this.#options.store
        .remove(name)
        .catch((error: unknown) => this.#options.incidents.report('cache file cannot be removed', error))
    }
    // In the same turn as the look that found nothing left, or what comes between would wait for ever.
    this.#removing = undefined
  }

  /** A failure concerns one file; the others go on. */
  async #each(names: readonly string[], work: (name: string) => Promise<void>): Promise<void> {
    const queue = names.values()
    const worker = async (): Promise<void> => {
      for (const name of queue) {
        await work(name).catch((error: unknown) =>
          this.#options.incidents.report('cache file cannot be handled', error, { entry: name }),
        )
      }
    }
    await Promise.all(Array.from({ length: PARALLEL_FILES }, worker))
  }
}

/** What says nothing about the entry, only about us: too many open files, or no memory. */
function isShortage(error: unknown): boolean {
  const code = codeOf(error instanceof CorruptEntryError ? error.cause : error)
  return code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM'
}
