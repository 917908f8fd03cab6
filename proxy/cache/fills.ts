import type { Logger } from '../../config/logger.js'
import { headerValue } from '../headers.js'
import { BodyProof } from './body-proof.js'
import type { CacheRequest, FetchUpstream, UpstreamResponse } from './contract.js'
import type { Entries } from './entries.js'
import { Fill } from './fill.js'
import type { Incidents } from './incidents.js'
import type { EntryKey } from './key.js'
import type { EntryMeta } from './meta.js'
import { resumption } from './resumption.js'
import { contentLength, whyNotKept } from './storable.js'
import type { Store } from './store.js'
import { headersToStore, upstreamAge } from './stored-headers.js'
import type { TempBody } from './temp-body.js'
import { UpstreamBody } from './upstream-body.js'

/** A fill whose head has come. */
export interface RunningFill {
  readonly fill: Fill
  readonly response: UpstreamResponse
  /** What will be stored of the head. */
  readonly headers: readonly string[]
}

/** What came of asking upstream. */
export type Opened =
  | ({ readonly kind: 'filling' } & RunningFill)
  /** The answer may not, or cannot, be kept; its body has not been touched. */
  | { readonly kind: 'unkept'; readonly response: UpstreamResponse }

export interface FillsOptions {
  readonly store: Store
  readonly entries: Entries
  readonly epoch: string
  /** See `FillOptions`. */
  readonly goesOnUnread: (received: number, total: number | undefined) => boolean
  readonly incidents: Incidents
  readonly logger: Logger
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** At most one fill per entry: whoever wants what is being fetched joins. */
export class Fills {
  readonly #options: FillsOptions
  /** From the moment upstream is asked until nobody can join any more. */
  readonly #joinable = new Map<string, Promise<RunningFill | undefined>>()
  readonly #open = new Map<AbortController, Promise<void>>()
  #stores = 0

  constructor(options: FillsOptions) {
    this.#options = options
  }

  get stores(): number {
    return this.#stores
  }

  /** The fill of an entry, once its head has come; undefined inside when the answer is not kept. */
  get(name: string): Promise<RunningFill | undefined> | undefined {
    return this.#joinable.get(name)
  }

  /**
   * Asks upstream and begins to fill.
   *
   * @param first called before the first byte is read, so that a small body is not over before it is joined.
   * @throws whatever `fetchUpstream` threw.
   */
  begin(
    request: CacheRequest,
    key: EntryKey,
    fetchUpstream: FetchUpstream,
    first: (running: RunningFill) => void,
  ): Promise<Opened> {
    const abort = new AbortController()
    const opened = this.#ask(request, key, fetchUpstream, abort, first)
    const joinable = opened.then(
      (result) => (result.kind === 'filling' ? result : undefined),
      () => undefined,
    )
    this.#joinable.set(key.name, joinable)
    const closed = joinable.then((running) => {
      if (running === undefined) this.#joinable.delete(key.name)
      return running?.fill.closed
    })
    this.#open.set(abort, closed)
    void closed.then(() => this.#open.delete(abort))
    return opened
  }

  /** Ends all fills; resolves when their files are gone, which takes until their readers have left. */
  async close(): Promise<void> {
    for (const abort of this.#open.keys()) abort.abort()
    await Promise.all(this.#open.values())
  }

  async #ask(
    request: CacheRequest,
    key: EntryKey,
    fetchUpstream: FetchUpstream,
    abort: AbortController,
    first: (running: RunningFill) => void,
  ): Promise<Opened> {
    const { store, entries, incidents, logger, now } = this.#options
    const response = await fetchUpstream(abort.signal)
    // Until somebody reads the body, an upstream that resets must not be an uncaught error.
    response.body.on('error', () => undefined)
    const reason = whyNotKept(request, key, response, entries.maxSize)
    if (reason !== undefined) {
      logger.debug({ key: key.text, reason }, 'cache: not kept')
      return { kind: 'unkept', response }
    }
    let temp: TempBody
    try {
      temp = await store.createTemp(key.name)
    } catch (error) {
      incidents.report('cache cannot write, traffic goes on uncached', error)
      return { kind: 'unkept', response }
    }
    const receivedAt = now()
    const headers = headersToStore(response.rawHeaders, key.digest, receivedAt)
    const proceed = resumption(response, key.digest, fetchUpstream, abort.signal)
    const body = new UpstreamBody(response.body, proceed)
    const running: RunningFill = {
      fill: this.#fill(key, response, body, { headers, receivedAt }, temp, abort),
      response,
      headers,
    }
    abort.signal.addEventListener('abort', () => running.fill.abort('the proxy is stopping'), { once: true })
    first(running)
    running.fill.start()
    return { kind: 'filling', ...running }
  }

  #fill(
    key: EntryKey,
    response: UpstreamResponse,
    body: UpstreamBody,
    { headers, receivedAt }: { readonly headers: readonly string[]; readonly receivedAt: number },
    temp: TempBody,
    abort: AbortController,
  ): Fill {
    const { entries, incidents, epoch, goesOnUnread } = this.#options
    return new Fill({
      body,
      temp,
      proof: new BodyProof(key.digest, contentLength(headerValue(response.rawHeaders, 'content-length'))),
      maxSize: entries.maxSize,
      goesOnUnread,
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
        }
        await entries.keep(key.name, temp, meta)
        this.#stores += 1
      },
      onDiskFailure: (error) => incidents.report('cache cannot write, traffic goes on uncached', error),
      onBadBody: (reason) => incidents.report('cache: bad body from upstream', reason, { key: key.text }),
      onClosed: () => this.#joinable.delete(key.name),
      stopUpstream: () => abort.abort(),
    })
  }
}
