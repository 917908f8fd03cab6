import type { Logger } from '../../../base/log/logger.js'
import type { BufferPool } from '../body/buffer-pool.js'
import { eachFile } from './each-file.js'
import { EntryIndex, type RuleStock } from './entry-index.js'
import { EpochChecks } from './epoch-checks.js'
import { isShortage } from '../contract/errors.js'
import type { Incidents } from '../contract/incidents.js'
import { Inventory } from './inventory.js'
import type { EntryMeta } from '../entry/meta.js'
import { Removals } from './removals.js'
import { SmallEntries } from './small-entries.js'
import type { Store } from './store.js'
import { closing, type StoredEntry } from '../entry/stored-entry.js'
import type { TempBody } from '../body/temp-body.js'
import { Touches } from './touches.js'

interface EntriesOptions {
  readonly store: Store
  /** Entries of another epoch are checked before they are first served. */
  readonly epoch: string
  /** Bytes on disk. */
  readonly maxSize: number
  /** Bytes of memory for copies of small entries. */
  readonly memory: number
  readonly buffers: BufferPool
  readonly incidents: Incidents
  readonly logger: Logger
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** What was removed. */
export interface Removed {
  readonly entries: number
  /** On disk. */
  readonly bytes: number
}

/** The entries of a directory. The disk is the truth; memory has an index of it, and copies of the small ones. */
export class Entries {
  readonly #options: EntriesOptions
  readonly #index: EntryIndex
  readonly #small: SmallEntries
  readonly #checks: EpochChecks
  readonly #removals: Removals
  readonly #touches: Touches
  readonly #inventory: Inventory
  readonly #ready: Promise<void>
  #loaded = false
  /** Counts entries made, so that a lookup notices one. */
  #admitted = 0

  constructor(options: EntriesOptions) {
    this.#options = options
    const small = new SmallEntries(options.memory)
    const removals = new Removals({ ...options, isWanted: (name) => this.#index.has(name) })
    this.#small = small
    this.#removals = removals
    this.#index = new EntryIndex({
      maxSize: options.maxSize,
      onChanged: (name) => small.drop(name),
      onEvicted: (name) => {
        small.drop(name)
        removals.add(name)
      },
    })
    this.#checks = new EpochChecks(options)
    this.#touches = new Touches(options)
    this.#inventory = new Inventory(options)
    this.#ready = this.#load()
  }

  get bytes(): number {
    return this.#index.bytes
  }

  /** Bytes on disk. */
  get maxSize(): number {
    return this.#index.maxSize
  }

  get evictions(): number {
    return this.#index.evictions
  }

  /** Bytes of memory that hold copies of small entries. */
  get memory(): number {
    return this.#small.bytes
  }

  /** Resolves when the index knows all entries; lookups need not wait for it. */
  get ready(): Promise<void> {
    return this.#ready
  }

  /** Rules that have something in store. */
  get rules(): string[] {
    return this.#index.rules
  }

  stock(rule: string): RuleStock {
    return this.#index.stock(rule)
  }

  /** Of all there are, once the index knows them. */
  async names(): Promise<readonly string[]> {
    await this.#ready
    return this.#index.names()
  }

  /** Whether the entry is known to exist; while the index loads, false says nothing. */
  has(name: string): boolean {
    return this.#index.has(name)
  }

  /** Evicts what no longer fits, least recently used first; those being read are read to their end. */
  resize(limits: { readonly maxSize: number; readonly memory: number }): void {
    this.#index.resize(limits.maxSize)
    this.#small.resize(limits.memory)
  }

  /** An entry that needs no look at the disk, counted as used. */
  held(name: string): StoredEntry | undefined {
    const held = this.#small.get(name)
    if (held !== undefined) this.#use(name, held)
    return held
  }

  /** Opens an entry and counts it as used; the caller closes its body. A bad one is dropped and not found. */
  async find(name: string, key: string): Promise<StoredEntry | undefined> {
    const absent = this.#loaded ? !this.#index.has(name) : this.#removals.has(name)
    if (absent) return undefined
    const admittedBefore = this.#admitted
    const look = this.#small.beginLook(name)
    const read = this.#index.reading(name)
    let entry: StoredEntry | undefined
    try {
      entry = await this.#options.store.open(name, key)
      if (entry !== undefined) {
        await this.#checks.ensure(name, entry)
        entry = this.#checked(entry)
        entry = await this.#small.copy(look, entry)
      }
    } catch (error) {
      read()
      await entry?.body.close()
      if (isShortage(error)) this.#options.incidents.report('cache entry cannot be opened', error)
      else this.drop(name, error)
      return undefined
    } finally {
      this.#small.endLook(look)
    }
    if (entry === undefined) {
      read()
      // Its files were taken away by somebody; unless they were made anew just now.
      if (this.#admitted === admittedBefore) this.#index.delete(name)
      return undefined
    }
    this.#use(name, entry)
    return { ...entry, body: closing(entry.body, read) }
  }

  /** Whoever writes its meta anew is to note that it was found right. */
  #checked(entry: StoredEntry): StoredEntry {
    const { epoch } = this.#options
    const { meta, bodyMark } = entry
    if (meta.epoch === epoch && meta.bodyMark === bodyMark) return entry
    return { ...entry, meta: { ...meta, epoch, bodyMark } }
  }

  /** Writes the meta of an entry anew, of which upstream has said something. @throws the system's error. */
  async confirm(name: string, meta: EntryMeta): Promise<void> {
    if (this.#loaded && !this.#index.has(name)) return
    const footprint = await this.#options.store.replaceMeta(name, meta, this.#options.now())
    this.#small.drop(name)
    this.#index.update(name, { footprint, rule: meta.rule })
  }

  /** Notes what another place says of an entry. Where that cannot be written, it is asked again. Never rejects. */
  async note(name: string, meta: EntryMeta): Promise<void> {
    await this.confirm(name, meta).catch((error: unknown) =>
      this.#options.incidents.report('cache entry cannot be written', error),
    )
  }

  /** Makes an entry of a complete body and evicts what it displaces. @throws the system's error. */
  async keep(name: string, body: TempBody, meta: EntryMeta): Promise<void> {
    await this.#inventory.swept
    this.#removals.cancel(name)
    const footprint = await this.#options.store.commit(name, body, meta)
    this.#admitted += 1
    this.#small.drop(name)
    this.#index.admit(name, { footprint, rule: meta.rule })
  }

  /** Removes an entry that turned out to be wrong. */
  drop(name: string, error: unknown): void {
    this.#options.incidents.report('cache entry dropped', error, { entry: name })
    this.forget(name)
  }

  /** Removes an entry that upstream no longer has. */
  forget(name: string): void {
    this.#small.drop(name)
    this.#index.delete(name)
    this.#removals.add(name)
  }

  /** Evicts what nobody reads, least recently used first, until so many bytes of the disk are free. */
  async free(bytes: number): Promise<void> {
    let freed = 0
    while (freed < bytes) {
      const evicted = this.#index.evictUnread()
      if (evicted === 0) break
      freed += evicted
    }
    await this.#removals.done()
  }

  /** Somebody reads it until the result is called: others are evicted first. */
  reading(name: string): () => void {
    return this.#index.reading(name)
  }

  /** Which rule made an entry; undefined where there is none. */
  ruleOf(name: string): string | undefined {
    return this.#index.peek(name)?.rule
  }

  /** Removes entries as far as they are there; those being read are read to their end. */
  async remove(names: readonly string[]): Promise<Removed> {
    let entries = 0
    let bytes = 0
    await eachFile(names, this.#options.incidents, async (name) => {
      const entry = this.#index.peek(name)
      if (entry === undefined) return
      this.#index.delete(name)
      await this.#options.store.remove(name)
      entries += 1
      bytes += entry.footprint
    })
    return { entries, bytes }
  }

  /** Removes every entry there is now. */
  async clear(): Promise<Removed> {
    return this.remove(await this.names())
  }

  /** Resolves when nothing of ours is under way in the directory. */
  async close(): Promise<void> {
    this.#inventory.stop()
    await this.#ready
    await this.#touches.done()
    await this.#removals.done()
  }

  async #load(): Promise<void> {
    const found = await this.#inventory.measure((name, error) => this.drop(name, error))
    if (found === undefined) return
    this.#index.merge(found.filter(({ name }) => !this.#removals.has(name)))
    this.#loaded = true
  }

  #use(name: string, entry: StoredEntry): void {
    const { footprint, meta } = entry
    // Absent though loaded: evicted since it was opened.
    if (!this.#index.use(name) && !this.#loaded) this.#index.admit(name, { footprint, rule: meta.rule })
    this.#touches.note(name, entry)
  }
}
