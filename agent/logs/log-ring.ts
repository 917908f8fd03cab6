import type { LogEntry } from './log-entry.js'

/** What an entry costs besides its text, on Node 20: the object, two numbers and a slot in the list. */
const ENTRY_BYTES = 128
/** V8 keeps text beyond Latin-1 in two bytes a unit; that is taken for granted, so the bound is never exceeded. */
const BYTES_PER_UNIT = 2

/** The latest lines of one service, as many as fit into a number of bytes. */
export class LogRing {
  readonly #maxBytes: number
  #entries: LogEntry[] = []
  /** Where the oldest entry is; those before it are gone. */
  #first = 0
  #bytes = 0
  #lostThrough = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Of the newest entry that had to go; 0 when none had. */
  get lostThrough(): number {
    return this.#lostThrough
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The newest is kept whatever its size. */
  add(entry: LogEntry): void {
    this.#entries.push(entry)
    this.#bytes += sizeOf(entry)
    while (this.#bytes > this.#maxBytes && this.#first < this.#entries.length - 1) this.#drop()
    // Half of the list being gone, moving the rest costs no more than was saved.
    if (this.#first > 32 && this.#first * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first)
      this.#first = 0
    }
  }

  /** Those after `seq`, the oldest first, `limit` at most. */
  after(seq: number, limit: number): LogEntry[] {
    const from = this.#indexAfter(seq)
    return this.#entries.slice(from, from + limit)
  }

  /** The newest `count`, the oldest of them first. */
  last(count: number): LogEntry[] {
    return this.#entries.slice(Math.max(this.#first, this.#entries.length - count))
  }

  #drop(): void {
    const oldest = this.#entries[this.#first]
    if (oldest === undefined) return
    this.#bytes -= sizeOf(oldest)
    this.#lostThrough = oldest.seq
    this.#first += 1
  }

  #indexAfter(seq: number): number {
    let low = this.#first
    let high = this.#entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#entries[middle]?.seq ?? 0) <= seq) low = middle + 1
      else high = middle
    }
    return low
  }
}

function sizeOf({ text }: LogEntry): number {
  return ENTRY_BYTES + text.length * BYTES_PER_UNIT
}
