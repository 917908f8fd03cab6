import { LRUCache } from 'lru-cache'
import { ResolveError, SilentNameError, unresolved, type Resolve } from '../policy/route-guard.js'
import { hasStopped, OwnAsker, ProcessAsker, type Asker } from './asker.js'

// Names of hosts → addresses, by the machine's own rules: getaddrinfo, and nothing that would know them less well.

/** glibc gives up on one silent server after 10 s, and asks a second one after 5 s. */
const LIMIT_MS = 15_000
/** getaddrinfo tells no TTL; this is shorter than any that is in use, and spares a burst of connections. */
const KEEP_MS = 1_000
const MAX_KEPT = 1_000
/** Processes beside our own. */
const MAX_PROCESSES = 4
/** Names that wait for a place; more are refused at once. */
const MAX_QUEUED = 4_096

/** A name that is being asked for, by all who want it. */
interface Asking {
  readonly host: string
  readonly found: Promise<readonly string[]>
  readonly resolve: (addresses: readonly string[]) => void
  readonly reject: (error: unknown) => void
  /** How many wait for it. */
  waiting: number
  asker: Asker | undefined
}

interface ResolverOptions {
  /** The proxy's own. */
  readonly env?: NodeJS.ProcessEnv
  readonly limitMs?: number
  readonly own?: Asker
  readonly makeAsker?: (onEnd: () => void) => Asker
}

/**
 * Looks names up: equal ones once, one name here and any number beside it in processes that are made when they are
 * needed. A name without an answer holds up no other, and a process that waits for nothing else is ended.
 */
export class Resolver {
  readonly #limitMs: number
  readonly #own: Asker
  readonly #makeAsker: (onEnd: () => void) => Asker
  readonly #askings = new Map<string, Asking>()
  readonly #queue = new Set<Asking>()
  readonly #processes = new Set<Asker>()
  #closed = false
  readonly #kept = new LRUCache<string, readonly string[]>({ max: MAX_KEPT, ttl: KEEP_MS })

  constructor({ env = {}, limitMs, own, makeAsker }: ResolverOptions = {}) {
    this.#limitMs = limitMs ?? LIMIT_MS
    this.#own = own ?? new OwnAsker()
    this.#makeAsker = makeAsker ?? ((onEnd) => new ProcessAsker(env, onEnd))
  }

  /** @throws ResolveError; SilentNameError when no answer comes in time */
  readonly resolve: Resolve = (host) => {
    const kept = this.#kept.get(host)
    if (kept !== undefined) return Promise.resolve(kept)
    const known = this.#askings.get(host)
    if (known === undefined && this.#queue.size >= MAX_QUEUED) {
      return Promise.reject(new ResolveError(`cannot resolve ${host}: ${MAX_QUEUED} names wait already`))
    }
    return this.#within(known ?? this.#begin(host))
  }

  /** Ends the processes; what is asked from now on is asked here. */
  close(): void {
    this.#closed = true
    for (const asker of this.#processes) asker.end()
  }

  #begin(host: string): Asking {
    const { promise: found, resolve, reject } = withResolvers<readonly string[]>()
    // Whoever waits hears of it; perhaps nobody does any more.
    found.catch(() => undefined)
    const asking: Asking = {
      host,
      found,
      resolve,
      reject,
      waiting: 0,
      asker: undefined,
    }
    this.#askings.set(host, asking)
    this.#queue.add(asking)
    this.#next()
    return asking
  }

  /** The answer, or the error of one that takes too long; the question itself goes on, for those who ask later. */
  #within(asking: Asking): Promise<readonly string[]> {
    asking.waiting += 1
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        asking.waiting -= 1
        reject(new SilentNameError(`cannot resolve ${asking.host}: no answer in ${this.#limitMs / 1000} s`))
        if (asking.waiting === 0) this.#giveUp(asking)
      }, this.#limitMs)
      asking.found.then(resolve, reject).finally(() => clearTimeout(timer))
    })
  }

  #next(): void {
    for (const asking of this.#queue) {
      const asker = this.#free()
      if (asker === undefined) return
      this.#queue.delete(asking)
      this.#ask(asking, asker)
    }
  }

  #free(): Asker | undefined {
    const free = [this.#own, ...this.#processes].find(({ open, places }) => open < places)
    if (free !== undefined || this.#closed || this.#processes.size >= MAX_PROCESSES) return free
    const made = this.#makeAsker(() => {
      this.#processes.delete(made)
      this.#next()
    })
    this.#processes.add(made)
    return made
  }

  #ask(asking: Asking, asker: Asker): void {
    asking.asker = asker
    asker.ask(asking.host).then(
      (addresses) => {
        this.#kept.set(asking.host, addresses)
        this.#settle(asking, () => asking.resolve(addresses))
      },
      (error: unknown) => {
        // No memory or no files for a process, perhaps: here at least the question can be asked.
        if (hasStopped(error) && asking.waiting > 0) this.#ask(asking, this.#own)
        else this.#settle(asking, () => asking.reject(unresolved(asking.host, error)))
      },
    )
  }

  #settle(asking: Asking, settle: () => void): void {
    this.#askings.delete(asking.host)
    settle()
    this.#next()
  }

  /** A name nobody waits for leaves the queue; a process with no other names ends, as its places are lost till then. */
  #giveUp(asking: Asking): void {
    if (this.#queue.delete(asking)) this.#askings.delete(asking.host)
    const { asker } = asking
    if (asker === undefined || !this.#processes.has(asker)) return
    const others = [...this.#askings.values()].filter((other) => other.asker === asker)
    if (others.every(({ waiting }) => waiting === 0)) asker.end()
  }
}

function withResolvers<Value>(): {
  promise: Promise<Value>
  resolve: (value: Value) => void
  reject: (error: unknown) => void
} {
  let settle: [resolve: (value: Value) => void, reject: (error: unknown) => void] | undefined
  const promise = new Promise<Value>((resolve, reject) => (settle = [resolve, reject]))
  const [resolve, reject] = settle ?? [() => undefined, () => undefined]
  return { promise, resolve, reject }
}
