import { setTimeout as delay } from 'node:timers/promises'
import type { BufferPool } from '../body/buffer-pool.js'
import type { Entries } from './entries.js'
import { assertDigest } from './epoch-checks.js'
import { isShortage } from '../contract/errors.js'
import type { Store } from './store.js'

/** `stopped`: the cache was closed first. */
type VerificationState = 'running' | 'done' | 'stopped'

export interface VerificationReport {
  readonly state: VerificationState
  /** Entries that there were at the start. */
  readonly entries: number
  readonly checked: number
  /** Dropped. */
  readonly bad: number
  /** Could not be looked at for want of files or memory. */
  readonly skipped: number
  /** Of bodies, read. */
  readonly bytes: number
  readonly started_at: string
  readonly ended_at: string | null
}

/** 64 MiB/s: a quarter of what one core hashes, and no more than a slow disk has to spare. */
const BYTES_PER_MS = 64 * 1024

interface VerificationOptions {
  readonly store: Store
  readonly entries: Entries
  readonly buffers: BufferPool
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Holds every body to its digest, one after the other and slowly, while everything else goes on. */
export class Verification {
  readonly #options: VerificationOptions
  readonly #stopped = new AbortController()
  readonly #startedAt: number
  #endedAt: number | undefined
  #state: VerificationState = 'running'
  #entries = 0
  #checked = 0
  #bad = 0
  #skipped = 0
  #bytes = 0
  /** Resolves when it has ended. Never rejects. */
  readonly ended: Promise<void>

  constructor(options: VerificationOptions) {
    this.#options = options
    this.#startedAt = options.now()
    this.ended = this.#run()
  }

  get state(): VerificationState {
    return this.#state
  }

  report(): VerificationReport {
    return {
      state: this.#state,
      entries: this.#entries,
      checked: this.#checked,
      bad: this.#bad,
      skipped: this.#skipped,
      bytes: this.#bytes,
      started_at: new Date(this.#startedAt).toISOString(),
      ended_at: this.#endedAt === undefined ? null : new Date(this.#endedAt).toISOString(),
    }
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.ended
  }

  async #run(): Promise<void> {
    const { entries, now } = this.#options
    const { signal } = this.#stopped
    const names = await entries.names()
    this.#entries = names.length
    for (const name of names) {
      if (signal.aborted) break
      await this.#check(name)
    }
    this.#endedAt = now()
    this.#state = signal.aborted ? 'stopped' : 'done'
  }

  async #check(name: string): Promise<void> {
    const { store, entries, buffers } = this.#options
    const read = entries.reading(name)
    try {
      const entry = await store.open(name)
      // Evicted or removed since the start.
      if (entry === undefined) return
      try {
        await assertDigest(name, entry.meta, entry.body, buffers, (bytes) => this.#pause(bytes))
      } finally {
        await entry.body.close()
      }
      this.#checked += 1
    } catch (error) {
      if (this.#stopped.signal.aborted) return
      if (isShortage(error)) this.#skipped += 1
      else if (entries.has(name)) {
        this.#checked += 1
        this.#bad += 1
        entries.drop(name, error)
      }
    } finally {
      read()
    }
  }

  /** @throws AbortError when it is stopped. */
  async #pause(bytes: number): Promise<void> {
    this.#bytes += bytes
    await delay(bytes / BYTES_PER_MS, undefined, { signal: this.#stopped.signal })
  }
}
