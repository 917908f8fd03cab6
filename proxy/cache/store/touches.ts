import type { Store } from './store.js'
import type { StoredEntry } from '../entry/stored-entry.js'

/** A use is written to disk at most this often per entry: order after a restart is right to the minute. */
const INTERVAL_MS = 60_000

interface TouchesOptions {
  readonly store: Store
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Notes on disk when entries were used, which is all that a restart knows of their order. */
export class Touches {
  readonly #options: TouchesOptions
  readonly #running = new Set<Promise<unknown>>()

  constructor(options: TouchesOptions) {
    this.#options = options
  }

  note(name: string, entry: StoredEntry): void {
    const now = this.#options.now()
    if (now - entry.lastUsedAt < INTERVAL_MS) return
    entry.lastUsedAt = now
    // Failing to note a use costs a place in the order and nothing else.
    const over = (): boolean => this.#running.delete(touch)
    const touch = this.#options.store.touch(name, now).then(over, over)
    this.#running.add(touch)
  }

  /** Resolves when nothing is being noted. */
  async done(): Promise<void> {
    await Promise.all(this.#running)
  }
}
