import { LRUCache } from 'lru-cache'
import type { ClientResponse } from '../../message/message.js'
import { AccessVerdicts } from '../rules/access.js'
import { answerTo } from './answer.js'
import { askExpiredForMs, notStored, wantsWhole, type Ask } from './ask.js'
import type { Client } from '../body/client.js'
import type { CacheOutcome, FetchUpstream, ServedOutcome, UpstreamResponse } from '../contract/contract.js'
import type { Entries } from '../store/entries.js'
import { BodyAbortedError } from '../contract/errors.js'
import type { JoinedBody } from '../fill/fill.js'
import type { Fills, Question, RunningFill } from '../fill/fills.js'
import { forbidsStale } from '../rules/freshness.js'
import { growingAnswer, sendGrowing } from './growing-answer.js'
import { mustBringIt } from './introductions.js'
import { answerFromMemory, hearManifest, type MemoryAnswerDeps } from './memory-answer.js'
import type { EntryMeta } from '../entry/meta.js'
import type { Reader } from '../body/reader.js'
import { Presentation, type Presented } from './presentation.js'
import { entryAt, inOtherWords, type StoredEntry } from '../entry/stored-entry.js'
import { sendStored, storedAnswer } from './stored-answer.js'
import { fillingHead } from '../entry/stored-headers.js'
import type { Tally } from '../contract/tally.js'
import { Vouchers } from './vouchers.js'

// request → key → running fill, or entry, or a new fill → client

const BYPASS: CacheOutcome = { kind: 'bypass' }

/** An entry that comes and goes between two looks is left alone after so many. */
const MAX_LOOKS = 4

/** Upstream that has just failed is not asked about expired entries, so that each of them is not late by a time-out. */
const DOWN_MS = 10_000
const MAX_DOWN = 1000

interface AnswersOptions {
  readonly entries: Entries
  readonly fills: Fills
  readonly tally: Tally
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** What is stored of what is asked for; see `Question`. */
type KnownOf = Pick<Question, 'stored' | 'entry'>

/** One request on its way to an answer. */
interface Answering extends Presented {
  readonly reader: Reader
}

/** Answers requests that a rule covers. */
export class Answers {
  readonly #options: AnswersOptions
  readonly #verdicts: AccessVerdicts
  readonly #vouchers = new Vouchers()
  readonly #presentation: Presentation
  readonly #memoryDeps: MemoryAnswerDeps
  /** Authority → until when it is taken for down. */
  readonly #down = new LRUCache<string, number>({ max: MAX_DOWN })

  constructor(options: AnswersOptions) {
    this.#options = options
    this.#verdicts = new AccessVerdicts(options.now)
    const deps = { ...options, verdicts: this.#verdicts, vouchers: this.#vouchers }
    this.#memoryDeps = deps
    this.#presentation = new Presentation(deps)
  }

  /** Answers what memory has and nothing speaks against, at once; undefined for everything else. */
  answerFromMemory(ask: Ask, response: ClientResponse): ServedOutcome | undefined {
    return answerFromMemory(ask, response, this.#memoryDeps)
  }

  /** @throws NotStoredError, and what `ResponseCache.respond` throws. */
  async answer(
    ask: Ask,
    client: Client,
    reader: Reader,
    fetchUpstream: FetchUpstream,
  ): Promise<CacheOutcome> {
    const answering: Answering = { ...ask, client, reader, fetchUpstream }
    const outcome = ask.aside ? BYPASS : await this.#look(answering)
    if (ask.offline && outcome.kind === 'bypass') throw notStored(ask.request, ask.settings)
    return outcome
  }

  async #look(ask: Answering): Promise<CacheOutcome> {
    const { request, client, key, offline } = ask
    const { entries, fills } = this.#options
    for (let look = 0; look < MAX_LOOKS; look += 1) {
      const found = fills.get(key.name)
      const outcome = found === undefined ? undefined : await client.unlessGone(found.joinable)
      if (client.gone) return left('HIT')
      // That another place refuses, or sends on, says nothing of this one.
      const ofAnother = typeof outcome === 'string' && found?.place !== key.place
      const running = ofAnother ? undefined : outcome
      if (running === 'unkept') return BYPASS
      if (typeof running === 'object') {
        const here = await this.#presentation.ofFill(ask, running)
        if (client.gone) return left('HIT')
        if (here === undefined) return BYPASS
        if (!(await this.#mayHave(ask, here.access.token === undefined ? '' : here.access.scope)))
          return BYPASS
        if (running.fill.state === 'growing') {
          // What is stale as it comes is for the one who asked for it.
          return askExpiredForMs(ask, here, this.#options.now()) < 0 ? this.#join(ask, here) : BYPASS
        }
        await client.unlessGone(running.fill.done)
      }
      const entry = entries.held(key.name) ?? (await entries.find(key.name, key.text))
      if (entry !== undefined) {
        const used = await this.#useEntry(ask, entry)
        if (used !== undefined) return used
        continue
      }
      if (running === 'failed') return BYPASS
      // Looking took time in which another request may have begun a fill, or even ended one.
      if (fills.get(key.name) !== undefined || entries.has(key.name)) continue
      if (offline || !wantsWhole(request)) return BYPASS
      return this.#beginAnew(ask)
    }
    return BYPASS
  }

  /** Resolves with undefined when somebody else is fetching the entry anew. Closes it in every case. */
  async #useEntry(ask: Answering, stored: StoredEntry): Promise<CacheOutcome | undefined> {
    const { key, request } = ask
    const isUnknownHere = entryAt(stored, key.place) === undefined
    // Asked for in another way, or by whom nobody believes before he has sent it.
    if (stored.meta.accept !== ask.accept || (isUnknownHere && mustBringIt(ask, stored.meta))) {
      await stored.body.close()
      if (ask.offline || !wantsWhole(request)) return BYPASS
      if (this.#options.fills.get(key.name) !== undefined) return undefined
      return this.#beginAnew(ask, stored.meta)
    }
    let sending = false
    try {
      const entry = await this.#presentation.ofEntry(ask, stored)
      if (ask.client.gone) return left('HIT')
      if (entry === undefined) return BYPASS
      let { meta } = entry
      if (!(await this.#mayHave(ask, meta.access))) return BYPASS
      const now = this.#options.now()
      const expiredMs = askExpiredForMs(ask, meta, now)
      if (expiredMs >= 0 && !ask.settings.offline) {
        // RFC 9111, 5.2.1.7: stored, but not to be used without asking.
        if (ask.offline) return BYPASS
        if (this.#options.fills.get(ask.key.name) !== undefined) return undefined
        const mayBeStale = !ask.reload && expiredMs <= ask.settings.staleIfErrorMs && !forbidsStale(meta, now)
        const renewed = await this.#renew(ask, meta, mayBeStale, stored.meta)
        if ('kind' in renewed) return renewed
        meta = renewed
      }
      sending = true
      return await this.#sendEntry(ask, meta === entry.meta ? entry : inOtherWords(entry, meta))
    } finally {
      // Closed by whoever sends it otherwise.
      if (!sending) await stored.body.close()
    }
  }

  async #mayHave(
    { settings, request, access, offline, fetchUpstream }: Answering,
    scope: string,
  ): Promise<boolean> {
    if (!settings.confirmsAccess || scope === '') return true
    return this.#verdicts.allows(scope, request, access, offline ? undefined : fetchUpstream)
  }

  /**
   * Asks upstream whether an expired entry still holds; resolves with its meta if so, or if it may be served
   * because upstream fails, and otherwise with what became of the request.
   */
  async #renew(
    ask: Answering,
    stored: EntryMeta,
    mayBeStale: boolean,
    entry: EntryMeta,
  ): Promise<CacheOutcome | EntryMeta> {
    const { request, key } = ask
    const { entries, now } = this.#options
    if (mayBeStale && (this.#down.get(request.authority) ?? 0) > now()) return stored
    try {
      const renewed = await this.#begin(ask, { stored, entry })
      if (!('kind' in renewed) || renewed.kind !== 'relay') return renewed
      const { response } = renewed
      if (!mayBeStale || response.status < 500) {
        if (response.status === 404 || response.status === 410) entries.forget(key.name)
        if (wantsWhole(request)) return renewed
        response.body.destroy()
        return BYPASS
      }
      response.body.destroy()
    } catch (error) {
      if (!mayBeStale || error instanceof BodyAbortedError) throw error
    }
    this.#down.set(request.authority, now() + DOWN_MS)
    return stored
  }

  async #sendEntry(ask: Answering, entry: StoredEntry): Promise<CacheOutcome> {
    const { request, client, reader, key, rule } = ask
    hearManifest(ask, entry, this.#vouchers)
    const { entries, tally, now } = this.#options
    tally.hit(rule.name)
    const answer = storedAnswer(request, entry, now())
    const bytes = await sendStored(entry, answer, client, reader, (error) => entries.drop(key.name, error))
    return { kind: 'served', cache: 'HIT', status: answer.status, bytes }
  }

  async #join({ request, client, reader, rule }: Answering, running: RunningFill): Promise<CacheOutcome> {
    const answer = growingAnswer(request, running)
    if (answer === undefined) return BYPASS
    const { tally } = this.#options
    if (answer.body === undefined) {
      tally.hit(rule.name)
      client.response.writeHead(answer.status, answer.reason, [...answer.headers])
      client.response.end()
      return { kind: 'served', cache: 'HIT', status: answer.status, bytes: 0 }
    }
    const source = running.fill.join(reader, Math.min(...answer.body.parts.map(({ from }) => from)))
    if (source === undefined) return BYPASS
    tally.hit(rule.name)
    return sendGrowing(client, reader, source, answer, 'HIT')
  }

  /**
   * Begins a fill, and sends it to who asks for all of it; others are better served by upstream itself. Resolves
   * with the meta of what is stored when that holds.
   */
  async #begin(ask: Answering, known: KnownOf = {}): Promise<CacheOutcome | EntryMeta> {
    const { request, client, reader, key, rule, access, accept, fetchUpstream, settings } = ask
    const { goesOnUnread } = settings
    const question = { request, key, rule, access, accept, fetchUpstream, goesOnUnread, ...known }
    const whole = wantsWhole(request)
    const joined: { source?: JoinedBody | undefined } = {}
    const opening = this.#options.fills.begin(question, ({ fill }) => {
      this.#options.tally.miss(rule.name)
      this.#verdicts.grant(access)
      if (whole && !client.gone) joined.source = fill.join(reader, 0)
    })
    const opened = await client.unlessGone(opening)
    if (client.gone || opened === undefined) {
      joined.source?.leave()
      // Nobody is left to relay it to; a fill goes on by itself.
      opening.then(
        (late) => late.kind === 'unkept' && late.response.body.destroy(),
        () => undefined,
      )
      return left('MISS')
    }
    if (opened.kind === 'unchanged') return opened.meta
    if (opened.kind === 'unkept') {
      const { response } = opened
      if (!ask.reworded || response.status < 400 || response.status >= 500) return { kind: 'relay', response }
      // It may have missed what was left out.
      response.body.destroy()
      return BYPASS
    }
    if (!whole) return BYPASS
    if (joined.source === undefined) throw new BodyAbortedError('it could not be joined')
    return this.#sendLed(ask, opened.response, opened.fill.total, joined.source)
  }

  /** @param entry what is stored, if it cannot answer the request. */
  async #beginAnew(ask: Answering, entry?: EntryMeta): Promise<CacheOutcome> {
    const outcome = await this.#begin(ask, entry === undefined ? {} : { entry })
    // Upstream was not asked about anything, so nothing can have held.
    return 'kind' in outcome ? outcome : BYPASS
  }

  #sendLed(
    { request, client, reader }: Answering,
    { reason, rawHeaders }: UpstreamResponse,
    size: number | undefined,
    source: JoinedBody,
  ): Promise<CacheOutcome> {
    const answer = answerTo(request, { reason, head: fillingHead(rawHeaders), size })
    return sendGrowing(client, reader, source, answer, 'MISS')
  }
}

/** The client left before there was anything to send; nginx's number for that. */
function left(cache: 'HIT' | 'MISS'): CacheOutcome {
  return { kind: 'served', cache, status: 499, bytes: 0 }
}
