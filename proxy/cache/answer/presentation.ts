import type { AccessVerdicts } from '../rules/access.js'
import type { Ask } from './ask.js'
import type { Client } from '../body/client.js'
import type { FetchUpstream } from '../contract/contract.js'
import type { Entries } from '../store/entries.js'
import type { RunningFill } from '../fill/fills.js'
import { Introductions, type Introduction, type Unpresented } from './introductions.js'
import { presented, withSaying } from '../entry/sayings.js'
import { entryAt, inOtherWords, type StoredEntry } from '../entry/stored-entry.js'
import type { Vouchers } from './vouchers.js'

interface PresentationOptions {
  readonly entries: Entries
  readonly verdicts: AccessVerdicts
  readonly vouchers: Vouchers
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** A request that is about to be answered from what is there. */
export interface Presented extends Ask {
  readonly client: Client
  /** In the words of the request. */
  readonly fetchUpstream: FetchUpstream
}

/** Gives out bodies in the words of the place that is asked for them, which is often not the one they are from. */
export class Presentation {
  readonly #options: PresentationOptions
  readonly #introductions: Introductions

  constructor(options: PresentationOptions) {
    this.#options = options
    this.#introductions = new Introductions(options)
  }

  /** A fill as the place has it; undefined where that is better asked itself. */
  async ofFill(ask: Presented, running: RunningFill): Promise<RunningFill | undefined> {
    if (running.accept !== ask.accept) return undefined
    if (running.place === ask.key.place) return running
    const { fill, storedAt, access } = running
    const scope = access.token === undefined ? '' : access.scope
    const introduction = await this.#introduce(ask, { size: fill.total, access: scope, storedAt })
    if (introduction === undefined) return undefined
    const { saying } = introduction
    return { ...running, ...saying, access: { ...ask.access, token: tokenFor(saying.access, ask) } }
  }

  /** An entry as the place has it; undefined where that is better asked itself. */
  async ofEntry(ask: Presented, entry: StoredEntry): Promise<StoredEntry | undefined> {
    const own = entryAt(entry, ask.key.place)
    if (own !== undefined) return own
    const { size, access, storedAt } = entry.meta
    const introduction = await this.#introduce(ask, { size, access, storedAt, held: entry.body.held })
    if (introduction === undefined) return undefined
    const { saying, isTheirs } = introduction
    if (isTheirs) await this.#options.entries.note(ask.key.name, withSaying(entry.meta, saying))
    return inOtherWords(entry, presented(entry.meta, saying))
  }

  async #introduce(ask: Presented, body: Unpresented): Promise<Introduction | undefined> {
    const introduction = await ask.client.unlessGone(this.#introductions.of(ask, body, ask.fetchUpstream))
    // It was asked with the credentials of the request.
    if (introduction?.isTheirs === true && introduction.saying.access !== '')
      this.#options.verdicts.grant(ask.access)
    return introduction
  }
}

function tokenFor(scope: string, { access }: Ask): string | undefined {
  return scope === '' ? undefined : access.token
}
