import type { Incidents } from '../contract/incidents.js'
import type { Store } from './store.js'

interface RemovalsOptions {
  readonly store: Store
  readonly incidents: Incidents
  /** An entry of that name is there again: it stays. */
  readonly isWanted: (name: string) => boolean
}

/**
 * Removes the files of entries one after the other: a lowered `max_size` may doom a hundred thousand at once, and
 * hits use the same thread pool.
 */
export class Removals {
  readonly #options: RemovalsOptions
  readonly #doomed = new Set<string>()
  #removing: Promise<void> | undefined

  constructor(options: RemovalsOptions) {
    this.#options = options
  }

  /** Whether its files are only still there because their turn has not come. */
  has(name: string): boolean {
    return this.#doomed.has(name)
  }

  add(name: string): void {
    this.#doomed.add(name)
    this.#removing ??= this.#removeAll()
  }

  /** It is about to be replaced; a removal that has begun is waited for by the store. */
  cancel(name: string): void {
    this.#doomed.delete(name)
  }

  /** Resolves when nothing is left to be removed. */
  async done(): Promise<void> {
    await this.#removing
  }

  async #removeAll(): Promise<void> {
    const { store, incidents, isWanted } = this.#options
    // So that the caller has noted that we are at it before we can be done.
    await Promise.resolve()
    for (const name of this.#doomed) {
      this.#doomed.delete(name)
      if (isWanted(name)) continue
      await store
        .remove(name)
        .catch((error: unknown) => incidents.report('cache file cannot be removed', error))
    }
    // In the same turn as the look that found nothing left, or what comes between would wait for ever.
    this.#removing = undefined
  }
}
