import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'

/** Different faults that are told apart; a program has far fewer places that can fail. */
const MAX_KINDS = 100

/**
 * Mistakes of our own that show while the agent runs: an exception that nobody catches, or an error where the program
 * takes it for granted that there is none. They are logged, counted and told by `status`, and never end process 1: it
 * would take down everything that still works, at every start anew when a file caused it.
 */
export class Faults {
  readonly #logger: Logger
  readonly #counts = new Map<string, number>()
  #count = 0
  #last = ''

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** How many there have been. */
  get count(): number {
    return this.#count
  }

  /**
   * @param where what fails because of it, such as `service web`.
   */
  report(error: unknown, where: string): void {
    const reason = reasonOf(error)
    this.#count += 1
    this.#last = `${where}: ${reason}`
    const times = (this.#counts.get(this.#last) ?? 0) + 1
    if (this.#counts.has(this.#last) || this.#counts.size < MAX_KINDS) this.#counts.set(this.#last, times)
    // What comes every half second would bury the rest of the log: told the 1st, 2nd, 4th, 8th … time.
    if ((times & (times - 1)) !== 0) return
    this.#logger.error({ where, reason, ...(times === 1 ? {} : { times }) }, 'fault of the agent itself')
    this.#logger.debug(
      { where, stack: error instanceof Error ? error.stack : undefined },
      'stack of the fault',
    )
  }

  /** For `status`: one line, none while there has been no fault. */
  describe(): string[] {
    if (this.#count === 0) return []
    const often =
      this.#count === 1 ? 'a fault of its own' : `${this.#count} faults of its own, the last of them`
    return [`agent: ${often} in ${this.#last}; it goes on; report it with the log's lines of level debug`]
  }
}
