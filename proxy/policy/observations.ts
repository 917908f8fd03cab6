import type { Logger } from '../../base/log/logger.js'
import type { Asked } from './access-rules.js'
import { optionName, type Finding } from './finding.js'
import type { Target } from '../../base/net/target.js'

/** As many places as anyone reads; those seen longest ago make room. */
const MAX_KEPT = 500

/** A place that `enforce` would keep from being reached, and how often somebody went there. */
interface Observation {
  /** `blocklist.domains[0]` */
  readonly rule: string
  readonly reason: string
  /** `host:port` */
  readonly authority: string
  readonly count: number
  /** Of the last request; absent for tunnels. */
  readonly method?: string
  /** Of the last request, without its query, which may hold a signature. */
  readonly path?: string
  /** Milliseconds since 1970. */
  readonly firstMs: number
  readonly lastMs: number
}

/** What the mode `observe` let through: a line in the log each time, and the last 500 places by rule. */
export class Observations {
  readonly #logger: Logger
  readonly #now: () => number
  readonly #kept = new Map<string, Observation>()
  #total = 0

  /** @param now milliseconds since 1970. */
  constructor(logger: Logger, now: () => number) {
    this.#logger = logger
    this.#now = now
  }

  /** How often something was let through, what is no longer kept included. */
  get total(): number {
    return this.#total
  }

  /** The latest first. */
  list(): readonly Observation[] {
    return [...this.#kept.values()].reverse()
  }

  record(target: Target, asked: Asked, finding: Finding): void {
    this.#total += 1
    const rule = optionName(finding.option)
    const { authority } = target
    const request = asked.kind === 'request' ? { method: asked.method, path: withoutQuery(asked.path) } : {}
    this.#logger.warn({ rule, host: authority, ...request, reason: finding.reason }, 'would block')
    const key = `${rule} ${authority}`
    const before = this.#kept.get(key)
    const lastMs = this.#now()
    this.#kept.delete(key)
    this.#kept.set(key, {
      rule,
      reason: finding.reason,
      authority,
      count: (before?.count ?? 0) + 1,
      ...request,
      firstMs: before?.firstMs ?? lastMs,
      lastMs,
    })
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > MAX_KEPT && oldest !== undefined) this.#kept.delete(oldest)
  }
}

function withoutQuery(path: string): string {
  return path.split('?', 1)[0] ?? ''
}
