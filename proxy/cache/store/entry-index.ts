import { LRUCache } from 'lru-cache'

/** All that memory knows of an entry besides its name. */
interface IndexedEntry {
  /** Bytes on disk. */
  readonly footprint: number
  /** The rule that made it. */
  readonly rule: string
}

export interface FoundEntry extends IndexedEntry {
  readonly name: string
  /** Milliseconds since 1970. */
  readonly lastUsedAt: number
}

/** What one rule has in store. */
export interface RuleStock {
  readonly rule: string
  readonly entries: number
  readonly bytes: number
}

interface EntryIndexOptions {
  /** Bytes on disk. */
  readonly maxSize: number
  /** The entry of that name is another one now, or none. */
  readonly onChanged: (name: string) => void
  /** Its files are to go. */
  readonly onEvicted: (name: string) => void
}

/** Which entries exist, how large they are, and in which order they were used. */
export class EntryIndex {
  readonly #options: EntryIndexOptions
  readonly #entries: LRUCache<string, IndexedEntry>
  readonly #stock = new Map<string, RuleStock>()
  /** Name → how many read it. */
  readonly #readers = new Map<string, number>()
  #maxSize: number
  #evictions = 0

  constructor(options: EntryIndexOptions) {
    this.#options = options
    this.#maxSize = options.maxSize
    this.#entries = new LRUCache<string, IndexedEntry>({
      // Ours may change while it runs, the one of lru-cache cannot.
      maxSize: Number.MAX_SAFE_INTEGER,
      sizeCalculation: ({ footprint }) => footprint,
      dispose: (entry, name) => {
        this.#count(entry, -1)
        options.onChanged(name)
      },
    })
  }

  /** On disk. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }

  get count(): number {
    return this.#entries.size
  }

  /** Bytes on disk. */
  get maxSize(): number {
    return this.#maxSize
  }

  get evictions(): number {
    return this.#evictions
  }

  has(name: string): boolean {
    return this.#entries.has(name)
  }

  /** Without counting as a use. */
  peek(name: string): IndexedEntry | undefined {
    return this.#entries.peek(name)
  }

  /** Those there are now, most recently used first. */
  names(): string[] {
    return [...this.#entries.keys()]
  }

  /** Makes it the most recently used; false where there is none. */
  use(name: string): boolean {
    return this.#entries.get(name) !== undefined
  }

  get rules(): string[] {
    return [...this.#stock].filter(([, { entries }]) => entries > 0).map(([rule]) => rule)
  }

  stock(rule: string): RuleStock {
    return this.#stock.get(rule) ?? { rule, entries: 0, bytes: 0 }
  }

  /** Adds an entry that was made or found just now, and evicts what it displaces. */
  admit(name: string, entry: IndexedEntry): void {
    if (entry.footprint > this.#maxSize) {
      // In the index, it would drive out everything else first.
      this.#entries.delete(name)
      this.#evicted(name)
      return
    }
    this.#set(name, entry)
    this.#trim(name)
  }

  /** What is said of an entry that is still there. */
  update(name: string, entry: IndexedEntry): void {
    if (this.#entries.has(name)) this.#set(name, entry)
  }

  /** Adds entries found on disk behind those that were used or made while it was listed. */
  merge(all: readonly FoundEntry[]): void {
    const found = all.filter(({ name }) => !this.#entries.has(name))
    found.sort((one, other) => other.lastUsedAt - one.lastUsedAt)
    let room = this.#maxSize - this.bytes
    const fits = found.findIndex(({ footprint }) => (room -= footprint) < 0)
    const kept = fits === -1 ? found : found.slice(0, fits)
    const usedMeanwhile = this.names().reverse()
    for (const { name, footprint, rule } of kept.reverse()) this.#set(name, { footprint, rule })
    for (const name of usedMeanwhile) this.#entries.get(name)
    for (const { name } of found.slice(kept.length)) this.#evicted(name)
  }

  delete(name: string): void {
    this.#entries.delete(name)
  }

  /** Evicts what no longer fits; what is being read goes last. */
  resize(maxSize: number): void {
    this.#maxSize = maxSize
    this.#trim()
  }

  /** Evicts the least recently used one that nobody reads; returns its bytes, or 0 where there is none. */
  evictUnread(spared?: string): number {
    for (const name of this.#entries.rkeys()) {
      if (name === spared || this.#readers.has(name)) continue
      const footprint = this.#entries.peek(name)?.footprint ?? 0
      this.#entries.delete(name)
      this.#evicted(name)
      return footprint
    }
    return 0
  }

  /** Somebody reads it until the result is called. */
  reading(name: string): () => void {
    this.#readers.set(name, (this.#readers.get(name) ?? 0) + 1)
    return () => {
      const left = (this.#readers.get(name) ?? 0) - 1
      if (left > 0) this.#readers.set(name, left)
      else this.#readers.delete(name)
    }
  }

  #set(name: string, { footprint, rule }: IndexedEntry): void {
    // One text for all entries of a rule: each would otherwise keep the one that its own meta was read with.
    if (!this.#stock.has(rule)) this.#stock.set(rule, { rule, entries: 0, bytes: 0 })
    const entry = { footprint, rule: this.stock(rule).rule }
    this.#entries.set(name, entry)
    this.#count(entry, 1)
  }

  #count({ rule, footprint }: IndexedEntry, sign: 1 | -1): void {
    const { entries, bytes } = this.stock(rule)
    this.#stock.set(rule, { rule, entries: entries + sign, bytes: bytes + sign * footprint })
  }

  #trim(spared?: string): void {
    while (this.bytes > this.#maxSize) {
      if (this.evictUnread(spared) > 0) continue
      // Only what is being read is left. Its readers keep the file they have open.
      const name = this.#entries.rkeys().next().value
      if (name === undefined) return
      this.#entries.delete(name)
      this.#evicted(name)
    }
  }

  #evicted(name: string): void {
    this.#evictions += 1
    this.#options.onEvicted(name)
  }
}
