import type { CacheSection } from '../../config/config.js'
import type { ClientResponse } from '../message.js'
import type { BufferPool } from './buffer-pool.js'
import { Client } from './client.js'
import { answerTo } from './answer.js'
import type { CacheOutcome, CacheRequest, CacheStats, FetchUpstream, ResponseCache } from './contract.js'
import type { Entries } from './entries.js'
import { BodyAbortedError } from './errors.js'
import type { JoinedBody } from './fill.js'
import type { Fills, RunningFill } from './fills.js'
import type { Incidents } from './incidents.js'
import { entryKey, type EntryKey } from './key.js'
import type { DirectoryLock } from './lock.js'
import { growingAnswer, sendGrowing } from './growing-answer.js'
import { asksFromStart } from './ranges.js'
import { Reader } from './reader.js'
import { compileRules, type CacheRules } from './rules.js'
import { refusesCache } from './storable.js'
import type { StoredEntry } from './store.js'
import { sendStored, storedAnswer } from './stored-answer.js'
import { fillingHead } from './stored-headers.js'

// request → key → running fill, or entry, or a new fill → client

const BYPASS: CacheOutcome = { kind: 'bypass' }

/** An entry that comes and goes between two looks is left alone after so many. */
const MAX_LOOKS = 4

export interface DiskCacheOptions {
  readonly section: CacheSection
  readonly entries: Entries
  readonly fills: Fills
  readonly buffers: BufferPool
  readonly incidents: Incidents
  readonly lock: DirectoryLock
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * A hit is a request answered without asking upstream for it: from an entry, or from a fill that somebody else's
 * request began. A miss is one that began a fill. Requests that may not be answered from a store count as
 * neither, so `misses` is the number of bodies fetched.
 */
export class DiskCache implements ResponseCache {
  readonly #options: DiskCacheOptions
  readonly #readers = new Set<Reader>()
  readonly #answering = new Set<Promise<unknown>>()
  #rules: CacheRules
  #closing: Promise<void> | undefined
  #hits = 0
  #misses = 0

  constructor(options: DiskCacheOptions) {
    this.#options = options
    this.#rules = rulesOf(options.section)
  }

  covers({ method, path }: CacheRequest): boolean {
    return (method === 'GET' || method === 'HEAD') && this.#rules.covers(path)
  }

  async respond(
    request: CacheRequest,
    response: ClientResponse,
    fetchUpstream: FetchUpstream,
  ): Promise<CacheOutcome> {
    if (this.#closing !== undefined || !this.covers(request)) return BYPASS
    const client = new Client(response)
    const reader = new Reader(client, this.#options.buffers)
    this.#readers.add(reader)
    const answering = this.#answer(request, client, reader, fetchUpstream)
    this.#answering.add(answering)
    try {
      return await answering
    } finally {
      this.#answering.delete(answering)
      this.#readers.delete(reader)
      client.release()
    }
  }

  stats(): CacheStats {
    const { entries, fills, incidents } = this.#options
    const asked = this.#hits + this.#misses
    return {
      hits: this.#hits,
      misses: this.#misses,
      stores: fills.stores,
      evictions: entries.evictions,
      errors: incidents.count,
      current_size: entries.bytes,
      hit_rate: asked === 0 ? 0 : Math.round((this.#hits / asked) * 1000) / 1000,
    }
  }

  reconfigure(section: CacheSection): Promise<void> {
    this.#rules = rulesOf(section)
    this.#options.entries.resize(section.max_size)
    return Promise.resolve()
  }

  clear(): Promise<{ entries: number; bytes: number }> {
    return this.#options.entries.clear()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { fills, entries, incidents, lock } = this.#options
    const filled = fills.close()
    for (const reader of this.#readers) reader.abort('the proxy is stopping')
    await Promise.allSettled(this.#answering)
    await filled
    await entries.close()
    // Not released, it is taken over by the next start, which then checks what it serves.
    await lock.release().catch((error: unknown) => incidents.report('cache lock cannot be released', error))
  }

  async #answer(
    request: CacheRequest,
    client: Client,
    reader: Reader,
    fetchUpstream: FetchUpstream,
  ): Promise<CacheOutcome> {
    const { entries, fills } = this.#options
    const key = entryKey(request)
    if (refusesCache(request, key) || hasStateCondition(request)) return BYPASS
    for (let look = 0; look < MAX_LOOKS; look += 1) {
      const joinable = fills.get(key.name)
      if (joinable !== undefined) {
        const running = await client.unlessGone(joinable)
        if (client.gone) return left('HIT')
        if (running === undefined) return BYPASS
        if (running.fill.state === 'growing') return this.#join(request, client, reader, running)
        await client.unlessGone(running.fill.done)
      }
      const entry = await entries.find(key.name, key.text)
      if (entry !== undefined) return this.#sendEntry(request, client, reader, key, entry)
      // Looking took time in which another request may have begun a fill, or even ended one.
      if (fills.get(key.name) !== undefined || entries.has(key.name)) continue
      return wantsWhole(request) ? this.#lead(request, client, reader, key, fetchUpstream) : BYPASS
    }
    return BYPASS
  }

  async #sendEntry(
    request: CacheRequest,
    client: Client,
    reader: Reader,
    key: EntryKey,
    entry: StoredEntry,
  ): Promise<CacheOutcome> {
    this.#hits += 1
    const answer = storedAnswer(request, entry, this.#options.now())
    const bytes = await sendStored(entry, answer, client, reader, (error) =>
      this.#options.entries.drop(key.name, error),
    )
    return { kind: 'served', cache: 'HIT', status: answer.status, bytes }
  }

  async #join(
    request: CacheRequest,
    client: Client,
    reader: Reader,
    running: RunningFill,
  ): Promise<CacheOutcome> {
    const answer = growingAnswer(request, running)
    if (answer === undefined) return BYPASS
    if (answer.body === undefined) {
      this.#hits += 1
      client.response.writeHead(answer.status, answer.reason, [...answer.headers])
      client.response.end()
      return { kind: 'served', cache: 'HIT', status: answer.status, bytes: 0 }
    }
    const source = running.fill.join(reader, Math.min(...answer.body.parts.map(({ from }) => from)))
    if (source === undefined) return BYPASS
    this.#hits += 1
    return sendGrowing(client, reader, source, answer, 'HIT')
  }

  async #lead(
    request: CacheRequest,
    client: Client,
    reader: Reader,
    key: EntryKey,
    fetchUpstream: FetchUpstream,
  ): Promise<CacheOutcome> {
    const joined: { source?: JoinedBody | undefined } = {}
    const opening = this.#options.fills.begin(request, key, fetchUpstream, ({ fill }) => {
      this.#misses += 1
      if (!client.gone) joined.source = fill.join(reader, 0)
    })
    const opened = await client.unlessGone(opening)
    if (client.gone || opened === undefined) {
      joined.source?.leave()
      // Nobody is left to relay it to; a fill goes on by itself.
      void opening.then(
        (late) => late.kind === 'unkept' && late.response.body.destroy(),
        () => undefined,
      )
      return left('MISS')
    }
    const { response } = opened
    if (opened.kind === 'unkept') return { kind: 'relay', response }
    if (joined.source === undefined) throw new BodyAbortedError('it could not be joined')
    const head = fillingHead(response.rawHeaders)
    const answer = answerTo(request, { reason: response.reason, head, size: opened.fill.total })
    return sendGrowing(client, reader, joined.source, answer, 'MISS')
  }
}

function rulesOf({ enabled, patterns }: CacheSection): CacheRules {
  return compileRules(enabled ? patterns : [])
}

/** The client left before there was anything to send; nginx's number for that. */
function left(cache: 'HIT' | 'MISS'): CacheOutcome {
  return { kind: 'served', cache, status: 499, bytes: 0 }
}

/** Conditions on the state of a resource are upstream's to judge (RFC 9110, 13.1.1 and 13.1.4). */
function hasStateCondition(request: CacheRequest): boolean {
  return request.header('if-match') !== undefined || request.header('if-unmodified-since') !== undefined
}

/** Whether the answer is everything there is, so that a fill can give it. */
function wantsWhole(request: CacheRequest): boolean {
  if (request.method !== 'GET') return false
  if (request.header('if-none-match') !== undefined) return false
  if (request.header('if-modified-since') !== undefined) return false
  const range = request.header('range')
  return range === undefined || (asksFromStart(range) && request.header('if-range') === undefined)
}
