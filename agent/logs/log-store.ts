import type { LogEntry, NewLogEntry } from './log-entry.js'
import { LogRing } from './log-ring.js'

interface LogStoreOptions {
  /** For each service by itself, so that one that talks much does not cost the others their lines. */
  readonly maxBytesPerService: number
  /** Is given every line as well. */
  readonly keep?: (entry: LogEntry) => void
}

/** What all services and the agent have said of late, for those who ask and those who go on listening. */
export class LogStore {
  readonly #options: LogStoreOptions
  readonly #rings = new Map<string, LogRing>()
  readonly #listeners = new Set<() => void>()
  #seq = 0

  constructor(options: LogStoreOptions) {
    this.#options = options
  }

  /** Of the newest line; 0 before the first. */
  get seq(): number {
    return this.#seq
  }

  /** How many wait for the next line. */
  get listeners(): number {
    return this.#listeners.size
  }

  add(line: NewLogEntry): void {
    this.#seq += 1
    const entry: LogEntry = { seq: this.#seq, ...line }
    let ring = this.#rings.get(entry.service)
    if (ring === undefined) {
      ring = new LogRing(this.#options.maxBytesPerService)
      this.#rings.set(entry.service, ring)
    }
    ring.add(entry)
    this.#options.keep?.(entry)
    for (const listener of this.#listeners) listener()
  }

  /** Whether that service has said anything. */
  has(service: string): boolean {
    return this.#rings.has(service)
  }

  /** Lines after `seq`, the oldest first, `limit` at most; of all services unless one is named. */
  after(seq: number, limit: number, service?: string): LogEntry[] {
    return merged(this.#ringsOf(service).map((ring) => ring.after(seq, limit))).slice(0, limit)
  }

  /** The newest `count` lines, the oldest of them first. */
  last(count: number, service?: string): LogEntry[] {
    if (count <= 0) return []
    return merged(this.#ringsOf(service).map((ring) => ring.last(count))).slice(-count)
  }

  /** Whether something that came after `seq` is gone already. */
  lostAfter(seq: number, service?: string): boolean {
    return this.#ringsOf(service).some((ring) => ring.lostThrough > seq)
  }

  /** Calls `listener` after every line; it must be quick. @returns ends that. */
  onAdded(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #ringsOf(service: string | undefined): LogRing[] {
    if (service === undefined) return [...this.#rings.values()]
    const ring = this.#rings.get(service)
    return ring === undefined ? [] : [ring]
  }
}

function merged(lists: readonly (readonly LogEntry[])[]): LogEntry[] {
  return lists.length === 1 ? [...(lists[0] ?? [])] : lists.flat().sort((a, b) => a.seq - b.seq)
}
