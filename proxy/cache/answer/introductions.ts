import { LRUCache } from 'lru-cache'
import { headerValue, without } from '../../message/headers.js'
import type { Ask } from './ask.js'
import type { FetchUpstream, UpstreamResponse } from '../contract/contract.js'
import type { Saying } from '../entry/meta.js'
import { contentLength, whyNotKept } from '../rules/storable.js'
import { headersToStore, provenHeaders, upstreamAge } from '../entry/stored-headers.js'
import { mediaTypeOf, type Vouchers } from './vouchers.js'

/** Some 2 MB: what is said while a body is still being fetched, and not noted with it yet. */
const MAX_REMEMBERED = 1000

/** What a place says of a body. */
export interface Introduction {
  readonly saying: Saying
  /** Whether it has said so itself; else it is said in its stead. */
  readonly isTheirs: boolean
}

/** A body that a place has said nothing of yet. */
export interface Unpresented {
  /** Bytes; undefined while nobody knows. */
  readonly size: number | undefined
  /** The scope of the credentials that it took where it is from; empty where it took none. */
  readonly access: string
  readonly storedAt: number
  /** All of it, where it is in memory. */
  readonly held?: Buffer | undefined
}

interface IntroductionsOptions {
  readonly vouchers: Vouchers
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * Has places say themselves what they say of a body that we have from elsewhere. Whether it is there is theirs to say,
 * as are the headers it is given out with and who may have it; only the bytes need not come again.
 */
export class Introductions {
  readonly #options: IntroductionsOptions
  readonly #said = new LRUCache<string, Saying>({ max: MAX_REMEMBERED })
  readonly #asking = new Map<string, Promise<Introduction | undefined>>()

  constructor(options: IntroductionsOptions) {
    this.#options = options
  }

  /**
   * Resolves with what the place of a request says, or with undefined where the request is better answered by that
   * itself: it says no, sends the client elsewhere, or has something else.
   *
   * @param fetchUpstream in the words of the request.
   */
  async of(ask: Ask, body: Unpresented, fetchUpstream: FetchUpstream): Promise<Introduction | undefined> {
    const { key, settings } = ask
    const said = this.#said.get(nameOf(ask))
    if (said !== undefined) return { saying: said, isTheirs: true }
    if (key.digest === undefined) return undefined
    // Nobody can be asked, and the bytes are what the URL names.
    if (settings.offline || this.#isVouched(ask, body)) {
      const { storedAt, access, held } = body
      const type = key.digest.kind === 'manifest' && held !== undefined ? mediaTypeOf(held) : undefined
      const headers = provenHeaders(key.digest, type, storedAt)
      return { saying: { place: key.place, headers, storedAt, age: 0, access }, isTheirs: false }
    }
    if (ask.offline || ask.request.method === 'HEAD' || mustBringIt(ask, body)) return undefined
    const name = `${nameOf(ask)}\n${ask.access.token ?? ''}`
    const asking = this.#asking.get(name) ?? this.#ask(name, ask, body, fetchUpstream)
    return asking
  }

  #isVouched({ key: { digest, place }, settings }: Ask, { access }: Unpresented): boolean {
    // Whose manifest it is says nothing of who may see a body that took credentials.
    if (digest?.kind !== 'blob' || (settings.confirmsAccess && access !== '')) return false
    return this.#options.vouchers.vouchFor(place, `${digest.algorithm}:${digest.hex}`)
  }

  #ask(
    name: string,
    ask: Ask,
    body: Unpresented,
    fetchUpstream: FetchUpstream,
  ): Promise<Introduction | undefined> {
    const asking = this.#hear(ask, body, fetchUpstream)
      // The request's own attempt meets the same, and tells its client.
      .catch(() => undefined)
      .finally(() => this.#asking.delete(name))
    this.#asking.set(name, asking)
    return asking
  }

  async #hear(
    ask: Ask,
    { size }: Unpresented,
    fetchUpstream: FetchUpstream,
  ): Promise<Introduction | undefined> {
    const { request, key, rule, access } = ask
    const stop = new AbortController()
    const response = await fetchUpstream(
      stop.signal,
      // Addresses in networks of storage are signed for GET alone; registries count GET as a pull.
      key.repository === undefined ? { headers: ['Range', 'bytes=0-0'] } : { method: 'HEAD' },
    )
    response.body.on('error', () => undefined)
    const whole = wholeOf(response, key.repository !== undefined)
    // One byte, or none. Of anything else the rest is not wanted.
    if (whole?.isRead === true) response.body.resume()
    else stop.abort()
    if (whole === undefined || (size !== undefined && whole.size !== undefined && whole.size !== size))
      return undefined
    const { head } = whole
    if (whyNotKept(request, key, head, rule, Infinity) !== undefined) return undefined
    const storedAt = this.#options.now()
    const saying: Saying = {
      place: key.place,
      headers: headersToStore(head.rawHeaders, key.digest, storedAt),
      storedAt,
      age: upstreamAge(head.rawHeaders),
      access: access.token === undefined ? '' : access.scope,
    }
    this.#said.set(nameOf(ask), saying)
    return { saying, isTheirs: true }
  }
}

/**
 * Under `authorization: revalidate`, a body that took credentials is not given out because another host says that it
 * knows it: anybody's server can say so. It has to send it.
 */
export function mustBringIt({ settings, request }: Ask, { access }: Pick<Unpresented, 'access'>): boolean {
  return settings.confirmsAccess && access !== '' && !access.startsWith(`${request.authority}/`)
}

interface Whole {
  readonly head: UpstreamResponse
  readonly size: number | undefined
  /** Nothing much is left of its body. */
  readonly isRead: boolean
}

/** An answer to HEAD, or to one byte, as that to a request for everything; undefined for a refusal. */
function wholeOf(response: UpstreamResponse, headOnly: boolean): Whole | undefined {
  const { status, rawHeaders } = response
  if (status === 200) {
    const size = contentLength(headerValue(rawHeaders, 'content-length'))
    return { head: response, size, isRead: headOnly }
  }
  const [, total] = /^bytes 0-0\/(\d{1,15})$/i.exec(headerValue(rawHeaders, 'content-range') ?? '') ?? []
  if (status !== 206 || total === undefined) return undefined
  const head = without(rawHeaders, (name) => /^content-(range|length|digest)$/.test(name))
  return { head: { ...response, status: 200, rawHeaders: head }, size: Number(total), isRead: true }
}

function nameOf({ key }: Ask): string {
  return `${key.name}\n${key.place}`
}
