import { LRUCache } from 'lru-cache'
import type { LimitsSection } from '../../config/model/config.js'
import { OverloadError } from '../socket/overload.js'

const MINUTE_MS = 60_000
/** Addresses whose share is remembered; who is forgotten begins with a full one. */
const MAX_ADDRESSES = 1_000

interface Bucket {
  left: number
  atMs: number
}

interface MintingOptions {
  readonly limits: () => LimitsSection
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** How many new hosts may have a certificate made: a minute's worth at once, then as time goes by. */
export class Minting {
  readonly #options: MintingOptions
  readonly #byAddress = new LRUCache<string, Bucket>({ max: MAX_ADDRESSES })
  #all: Bucket | undefined

  constructor(options: MintingOptions) {
    this.#options = options
  }

  /** @throws OverloadError when `address` has to wait before {@link take} would be true for it. */
  assertLeft(address: string): void {
    const { new_hosts, client_new_hosts } = this.#options.limits()
    this.#assert(this.#filled(this.#all, new_hosts), new_hosts, 'limits.new_hosts')
    const own = this.#filled(this.#byAddress.get(address), client_new_hosts)
    this.#assert(own, client_new_hosts, 'limits.client_new_hosts')
  }

  /** Whether one more may be made, which then counts. */
  take(address: string): boolean {
    const { new_hosts, client_new_hosts } = this.#options.limits()
    const all = this.#filled(this.#all, new_hosts)
    const own = this.#filled(this.#byAddress.get(address), client_new_hosts)
    if (all.left < 1 || own.left < 1) return false
    this.#all = { ...all, left: all.left - 1 }
    this.#byAddress.set(address, { ...own, left: own.left - 1 })
    return true
  }

  #filled(bucket: Bucket | undefined, perMinute: number): Bucket {
    const atMs = this.#options.now()
    if (bucket === undefined) return { left: perMinute, atMs }
    const grown = bucket.left + ((atMs - bucket.atMs) * perMinute) / MINUTE_MS
    return { left: Math.min(perMinute, grown), atMs }
  }

  #assert({ left }: Bucket, perMinute: number, option: string): void {
    if (left >= 1) return
    const seconds = Math.ceil(((1 - left) * 60) / perMinute)
    throw new OverloadError(`there were more than ${perMinute} new hosts in a minute (${option})`, seconds)
  }
}
