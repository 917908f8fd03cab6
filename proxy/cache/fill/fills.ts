import { unattended } from '../../../base/process/entry.js'
import type { Logger } from '../../../base/log/logger.js'
import { headerValue } from '../../message/headers.js'
import type { Access } from '../rules/access.js'
import { BodyProof } from '../body/body-proof.js'
import type { CacheRequest, FetchUpstream, UpstreamResponse } from '../contract/contract.js'
import type { Entries } from '../store/entries.js'
import { whyUnexpectedBody } from '../rules/expectation.js'
import { Fill, type FillOptions } from './fill.js'
import { revalidation } from '../rules/freshness.js'
import type { Incidents } from '../contract/incidents.js'
import type { EntryKey } from '../rules/key.js'
import type { EntryMeta } from '../entry/meta.js'
import type { AppliedRule } from '../rules/rules.js'
import { resumption } from './resumption.js'
import type { Reserve } from '../store/reserve.js'
import { afterEntry, withSaying } from '../entry/sayings.js'
import { contentLength, whyNotKept, whyUseless } from '../rules/storable.js'
import type { Store } from '../store/store.js'
import { headersToStore, refreshed, upstreamAge } from '../entry/stored-headers.js'
import type { Tally } from '../contract/tally.js'
import type { TempBody } from '../body/temp-body.js'
import { UpstreamBody } from '../body/upstream-body.js'

/** A fill whose head has come. */
export interface RunningFill {
  readonly fill: Fill
  readonly response: UpstreamResponse
  /** What will be stored of the head, and when that came: milliseconds since 1970. */
  readonly headers: readonly string[]
  readonly storedAt: number
  /** Seconds that it had spent in other caches. */
  readonly age: number
  /** What it took to be fetched. */
  readonly access: Access
  /** Who says so, and what was asked for: see `EntryKey` and `Ask`. */
  readonly place: string
  readonly accept: string
}

/** A request that upstream is asked for. */
export interface Question {
  readonly request: CacheRequest
  readonly key: EntryKey
  readonly rule: AppliedRule
  readonly access: Access
  readonly fetchUpstream: FetchUpstream
  readonly goesOnUnread: FillOptions['goesOnUnread']
  /** See `Ask`. */
  readonly accept: string
  /** What is stored already and may still hold, in the words of this place. */
  readonly stored?: EntryMeta
  /** What is stored, in those of all places. */
  readonly entry?: EntryMeta
}

/** What came of asking upstream. */
type Opened =
  | ({ readonly kind: 'filling' } & RunningFill)
  /** What is stored holds; it says so now. */
  | { readonly kind: 'unchanged'; readonly meta: EntryMeta }
  /** The answer may not, or cannot, be kept; its body has not been touched. */
  | { readonly kind: 'unkept'; readonly response: UpstreamResponse }

interface FillsOptions {
  readonly store: Store
  readonly entries: Entries
  readonly epoch: string
  readonly reserve: Reserve
  readonly incidents: Incidents
  readonly tally: Tally
  readonly logger: Logger
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** A fill, or why there is none to join. */
type Joinable = RunningFill | 'unkept' | 'unchanged' | 'failed'

/** Whom a fill asks, and what came of it once its head has come. */
interface FoundFill {
  readonly place: string
  readonly joinable: Promise<Joinable>
}

/** A question to upstream, from its beginning to the end of what came of it. */
interface Asking {
  readonly abort: AbortController
  /** What it brings was changed meanwhile. */
  discarded: boolean
}

/** At most one fill per entry: whoever wants what is being fetched joins. */
export class Fills {
  readonly #options: FillsOptions
  /** From the moment upstream is asked until nobody can join any more. */
  readonly #joinable = new Map<string, FoundFill & { readonly asking: Asking }>()
  /** Entries that are being made of fills. */
  readonly #keeping = new Map<string, Promise<void>>()
  readonly #open = new Map<AbortController, Promise<void>>()
  #stores = 0

  constructor(options: FillsOptions) {
    this.#options = options
  }

  get stores(): number {
    return this.#stores
  }

  /** The fill of an entry, once its head has come. */
  get(name: string): FoundFill | undefined {
    return this.#joinable.get(name)
  }

  /**
   * Asks upstream and begins to fill.
   *
   * @param first called before the first byte is read, so that a small body is not over before it is joined.
   * @throws whatever `fetchUpstream` threw.
   */
  begin(question: Question, first: (running: RunningFill) => void): Promise<Opened> {
    const { name, place } = question.key
    const asking: Asking = { abort: new AbortController(), discarded: false }
    const opened = this.#ask(question, asking, first)
    const joinable = opened.then(
      (result): Joinable => {
        if (result.kind === 'filling') return result
        const failed = result.kind === 'unkept' && result.response.status >= 500
        return failed ? 'failed' : result.kind
      },
      (): Joinable => 'failed',
    )
    this.#joinable.set(name, { place, asking, joinable })
    const closed = joinable.then((running) => {
      if (typeof running === 'object') return running.fill.closed
      this.#unjoin(name, asking)
      return undefined
    })
    this.#open.set(asking.abort, closed)
    const forget = (): boolean => this.#open.delete(asking.abort)
    closed.then(forget, forget)
    return opened
  }

  /** After a discard there may be another one of that name. */
  #unjoin(name: string, asking: Asking): void {
    if (this.#joinable.get(name)?.asking === asking) this.#joinable.delete(name)
  }

  /** Nothing is made of a fill that is under way, nor can anybody join it any more. */
  discard(name: string): void {
    const found = this.#joinable.get(name)
    if (found === undefined) return
    this.#joinable.delete(name)
    found.asking.discarded = true
    const forgone = found.joinable.then((running) => {
      if (typeof running === 'object') running.fill.forgo()
    })
    unattended(this.#options.logger, 'discard', forgone)
  }

  /** A discarded fill may still be at the disk when the next one of that name comes to it. */
  async #inTurn(name: string, keep: () => Promise<void>): Promise<void> {
    const before = this.#keeping.get(name)
    const turn = before === undefined ? keep() : before.then(keep)
    const over = turn.catch(() => undefined)
    this.#keeping.set(name, over)
    try {
      await turn
    } finally {
      if (this.#keeping.get(name) === over) this.#keeping.delete(name)
    }
  }

  /** Ends all fills; resolves when their files are gone, which takes until their readers have left. */
  async close(): Promise<void> {
    for (const abort of this.#open.keys()) abort.abort()
    await Promise.all(this.#open.values())
  }

  async #ask(question: Question, asking: Asking, first: (running: RunningFill) => void): Promise<Opened> {
    const { request, key, rule, fetchUpstream, stored } = question
    const { store, entries, incidents, reserve, logger, now } = this.#options
    const { abort } = asking
    const conditions = stored === undefined ? [] : revalidation(stored)
    const response = await fetchUpstream(abort.signal, { headers: conditions })
    // Until somebody reads the body, an upstream that resets must not be an uncaught error.
    response.body.on('error', () => undefined)
    if (response.status === 304 && stored !== undefined && conditions.length > 0) {
      response.body.resume()
      return { kind: 'unchanged', meta: await this.#confirm(question, stored, response) }
    }
    const receivedAt = now()
    const maxSize = Math.min(entries.maxSize, rule.maxObjectBytes)
    const useless = key.digest === undefined && rule.ttlMs === 'upstream'
    const reason =
      whyNotKept(request, key, response, rule, maxSize) ??
      (useless ? whyUseless(response.rawHeaders, receivedAt) : undefined)
    if (reason !== undefined) {
      logger.debug({ key: key.text, reason }, 'cache: not kept')
      return { kind: 'unkept', response }
    }
    let temp: TempBody
    try {
      const announced = contentLength(headerValue(response.rawHeaders, 'content-length'))
      reserve.assertRoomFor(announced ?? 1, entries.bytes)
      temp = await store.createTemp(key.name)
    } catch (error) {
      incidents.report('cache cannot write, traffic goes on uncached', error)
      return { kind: 'unkept', response }
    }
    const headers = headersToStore(response.rawHeaders, key.digest, receivedAt)
    const proceed = resumption(response, key.digest, fetchUpstream, abort.signal)
    const body = new UpstreamBody(response.body, proceed)
    const running: RunningFill = {
      fill: this.#fill(question, response, body, { headers, receivedAt, maxSize }, temp, asking),
      access: question.access,
      place: key.place,
      accept: question.accept,
      response,
      headers,
      storedAt: receivedAt,
      age: upstreamAge(response.rawHeaders),
    }
    abort.signal.addEventListener('abort', () => running.fill.abort('the proxy is stopping'), { once: true })
    first(running)
    running.fill.start()
    const counted = running.fill.done.then(() =>
      this.#options.tally.fetched(rule.name, running.fill.frontier),
    )
    unattended(logger, 'count', counted)
    return { kind: 'filling', ...running }
  }

  async #confirm(
    { request, key, rule, entry }: Question,
    stored: EntryMeta,
    answer: UpstreamResponse,
  ): Promise<EntryMeta> {
    const { entries, incidents, now } = this.#options
    const meta = refreshed(stored, answer.rawHeaders, key.digest, now())
    // The body is the one that is stored.
    const renewed = { ...answer, status: 200, rawHeaders: meta.headers, untilClose: false }
    // By whom it was confirmed makes no difference to what was fetched by another.
    const anonymous = { ...request, header: () => undefined }
    if (whyNotKept(anonymous, key, renewed, rule, Infinity) !== undefined) {
      // Good for the one who asked, and for nobody after.
      entries.forget(key.name)
      return meta
    }
    // Where it cannot be written, the next request asks again.
    await entries
      .confirm(key.name, entry === undefined ? meta : withSaying(entry, meta))
      .catch((error: unknown) => incidents.report('cache entry cannot be confirmed', error))
    return meta
  }

  #fill(
    { key, rule, access, accept, goesOnUnread, entry }: Question,
    response: UpstreamResponse,
    body: UpstreamBody,
    {
      headers,
      receivedAt,
      maxSize,
    }: { readonly headers: readonly string[]; readonly receivedAt: number; readonly maxSize: number },
    temp: TempBody,
    asking: Asking,
  ): Fill {
    const { entries, incidents, logger, epoch } = this.#options
    return new Fill({
      body,
      temp,
      proof: new BodyProof(key.digest, contentLength(headerValue(response.rawHeaders, 'content-length'))),
      maxSize,
      goesOnUnread,
      isFit: (start) => {
        const reason = key.digest === undefined ? whyUnexpectedBody(rule.expect, start) : undefined
        if (reason !== undefined) logger.debug({ key: key.text, reason }, 'cache: not kept')
        return reason === undefined
      },
      keep: async (digest, size) => {
        const meta: EntryMeta = {
          key: key.text,
          status: response.status,
          reason: response.reason,
          headers,
          digest,
          size,
          storedAt: receivedAt,
          age: upstreamAge(response.rawHeaders),
          epoch,
          rule: rule.name,
          access: access.token === undefined ? '' : access.scope,
          place: key.place,
          accept,
          others: [],
        }
        const whole = entry === undefined ? meta : afterEntry(meta, entry)
        await this.#inTurn(key.name, async () => {
          await entries.keep(key.name, temp, whole)
          // It was too late to keep it from being made.
          if (asking.discarded) entries.forget(key.name)
        })
        this.#stores += 1
      },
      onDiskFailure: (error) => incidents.report('cache cannot write, traffic goes on uncached', error),
      onBadBody: (reason) => incidents.report('cache: bad body from upstream', reason, { key: key.text }),
      onClosed: () => this.#unjoin(key.name, asking),
      stopUpstream: () => asking.abort.abort(),
    })
  }
}
