import { codeOf, reasonOf } from '../../../base/errors.js'
import type { Logger } from '../../../base/log/logger.js'

/** A full disk fails every request; one line in this time tells as much as a thousand. */
const QUIET_MS = 30_000

/** Counts what went wrong with the cache itself and says so, without flooding the log. */
export class Incidents {
  readonly #logger: Logger
  readonly #now: () => number
  /** Message → when it was last logged, and how often it was kept back since. Messages are ours, so few. */
  readonly #logged = new Map<string, { at: number; suppressed: number }>()
  #count = 0

  constructor(logger: Logger, now: () => number) {
    this.#logger = logger
    this.#now = now
  }

  get count(): number {
    return this.#count
  }

  /** @param message one of a fixed few; what varies belongs into `fields`. */
  report(message: string, error: unknown, fields: object = {}): void {
    this.#count += 1
    const now = this.#now()
    const last = this.#logged.get(message)
    if (last !== undefined && now - last.at < QUIET_MS) {
      last.suppressed += 1
      return
    }
    this.#logged.set(message, { at: now, suppressed: 0 })
    const code = codeOf(error)
    this.#logger.warn(
      {
        ...fields,
        reason: reasonOf(error),
        ...(code === undefined ? {} : { code }),
        ...(last === undefined || last.suppressed === 0 ? {} : { suppressed: last.suppressed }),
      },
      message,
    )
  }
}
