import { refuse } from './problem.js'

/** So many at once and no more; who comes too late is told so, because a queue would hide that nothing happens. */
export class Slots {
  readonly #limit: number
  readonly #what: string
  #taken = 0

  /** @param what for the message, in the plural. */
  constructor(limit: number, what: string) {
    this.#limit = limit
    this.#what = what
  }

  /**
   * @returns what gives the place back; calling it again does nothing.
   * @throws RefusedRequestError with 429.
   */
  take(): () => void {
    if (this.#taken >= this.#limit)
      refuse(429, `${this.#limit} ${this.#what} are running already`, { 'retry-after': '1' })
    this.#taken += 1
    let held = true
    return () => {
      if (held) this.#taken -= 1
      held = false
    }
  }
}
