import type { Logger } from '../../../base/log/logger.js'
import { eachFile } from './each-file.js'
import type { FoundEntry } from './entry-index.js'
import { CorruptEntryError } from '../contract/errors.js'
import type { Incidents } from '../contract/incidents.js'
import type { Store } from './store.js'

interface InventoryOptions {
  readonly store: Store
  readonly incidents: Incidents
  readonly logger: Logger
}

/** What is in the directory when it is opened. */
export class Inventory {
  readonly #options: InventoryOptions
  /** Resolves with the names of the entries when what a crash left is gone. Never rejects. */
  readonly swept: Promise<readonly string[]>
  #stopped = false

  constructor(options: InventoryOptions) {
    this.#options = options
    this.swept = this.#sweep()
  }

  /** Resolves with undefined when it was stopped. Never rejects. */
  async measure(onCorrupt: (name: string, error: unknown) => void): Promise<FoundEntry[] | undefined> {
    const { store, incidents } = this.#options
    const found: FoundEntry[] = []
    await eachFile(await this.swept, incidents, async (name) => {
      if (this.#stopped) return
      try {
        const described = await store.describe(name)
        if (described === undefined) return
        const { meta, footprint, lastUsedAt } = described
        found.push({ name, footprint, lastUsedAt, rule: meta.rule })
      } catch (error) {
        if (!(error instanceof CorruptEntryError)) throw error
        onCorrupt(name, error)
      }
    })
    return this.#stopped ? undefined : found
  }

  stop(): void {
    this.#stopped = true
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
}
