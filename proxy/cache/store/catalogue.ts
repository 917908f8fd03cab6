import type { BufferPool } from '../body/buffer-pool.js'
import { eachFile } from './each-file.js'
import type { Entries, Removed } from './entries.js'
import type { Incidents } from '../contract/incidents.js'
import { nameOfKey } from '../rules/key.js'
import { shownKey } from '../contract/shown-key.js'
import type { Store } from './store.js'
import type { Description } from '../entry/stored-entry.js'
import { Verification, type VerificationReport } from './verification.js'

/** Which entries are meant: those that fit all that is given. */
export interface EntryFilter {
  /** Exactly, as it is stored. */
  readonly key?: string
  /** Of the key as it is shown, so that nobody can find out by trying what is not shown. */
  readonly prefix?: string
  readonly rule?: string
}

/** An entry as it is shown. */
interface ListedEntry {
  readonly key: string
  readonly rule: string
  /** Bytes of the body. */
  readonly size: number
  /** Bytes on disk. */
  readonly disk_size: number
  readonly digest: string
  readonly stored_at: string
  /** To the minute. */
  readonly last_used_at: string
}

export interface EntryPage {
  readonly entries: readonly ListedEntry[]
  /** Where the next page begins; null after the last. */
  readonly next: string | null
}

/** Metas read for one page: what they cost is a tenth of a second, and what is asked for may be rare. */
const MAX_READ = 1000

interface CatalogueOptions {
  readonly store: Store
  readonly entries: Entries
  readonly buffers: BufferPool
  readonly incidents: Incidents
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** What is stored, to be looked at and looked after. */
export class Catalogue {
  readonly #options: CatalogueOptions
  #verification: Verification | undefined

  constructor(options: CatalogueOptions) {
    this.#options = options
  }

  /**
   * Entries in the order of their names, which is none to a reader but stays the same while others come and go. A
   * page may have fewer than `limit`, even none, and still not be the last.
   *
   * @param after where the page before ended.
   */
  async page(filter: EntryFilter, limit: number, after = ''): Promise<EntryPage> {
    const names = leastAfter(await this.#candidates(filter), after, MAX_READ + 1)
    const entries: ListedEntry[] = []
    for (const [at, name] of names.entries()) {
      if (at === MAX_READ || entries.length === limit) return { entries, next: names[at - 1] ?? null }
      const description = await this.#describe(name)
      if (description !== undefined && matches(filter, description)) entries.push(listed(description))
    }
    return { entries, next: null }
  }

  async remove(filter: EntryFilter): Promise<Removed> {
    const { entries, incidents } = this.#options
    const candidates = await this.#candidates(filter)
    if (filter.prefix === undefined) return entries.remove(candidates)
    const found: string[] = []
    await eachFile(candidates, incidents, async (name) => {
      const description = await this.#describe(name)
      if (description !== undefined && matches(filter, description)) found.push(name)
    })
    return entries.remove(found)
  }

  /** Begins to check everything, unless that is under way. Returns whether it was begun. */
  verify(): boolean {
    if (this.#verification?.state === 'running') return false
    this.#verification = new Verification(this.#options)
    return true
  }

  /** Of the check under way, or of the last one; undefined where there was none since the start. */
  get verification(): VerificationReport | undefined {
    return this.#verification?.report()
  }

  async close(): Promise<void> {
    await this.#verification?.stop()
  }

  /** Those that what the index knows does not rule out. */
  async #candidates({ key, rule }: EntryFilter): Promise<readonly string[]> {
    const { entries } = this.#options
    const names = await entries.names()
    const named = key === undefined ? names : [nameOfKey(key)].filter((name) => entries.has(name))
    return rule === undefined ? named : named.filter((name) => entries.ruleOf(name) === rule)
  }

  /** Undefined also for what cannot be read: whoever is served it next will say so. */
  async #describe(name: string): Promise<Description | undefined> {
    return this.#options.store.describe(name).catch(() => undefined)
  }
}

function matches({ prefix }: EntryFilter, { meta }: Description): boolean {
  return prefix === undefined || shownKey(meta.key).startsWith(prefix)
}

function listed({ meta, footprint, lastUsedAt }: Description): ListedEntry {
  return {
    key: shownKey(meta.key),
    rule: meta.rule,
    size: meta.size,
    disk_size: footprint,
    digest: meta.digest,
    stored_at: new Date(meta.storedAt).toISOString(),
    last_used_at: new Date(lastUsedAt).toISOString(),
  }
}

/** The `count` least names beyond `after`, in order; sorting all of a million would hold everything up. */
function leastAfter(names: readonly string[], after: string, count: number): readonly string[] {
  let least: string[] = []
  let bound = ''
  for (const name of names) {
    if (name <= after || (bound !== '' && name > bound)) continue
    least.push(name)
    if (least.length < 4 * count) continue
    least = least.sort().slice(0, count)
    bound = least.at(-1) ?? ''
  }
  return least.sort().slice(0, count)
}
