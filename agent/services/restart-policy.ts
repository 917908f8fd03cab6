/** When a service that ended is started again. */
export interface RestartPolicy {
  readonly firstDelayMs: number
  readonly maxDelayMs: number
  /** Ready for this long, and what was before is forgotten: the next delay is the first one again. */
  readonly resetAfterMs: number
  /** This many failures … */
  readonly failuresAllowed: number
  /** … within this time, and it is given up. */
  readonly windowMs: number
}

/**
 * A service that dies at once uses its ten failures up in two minutes; one that dies every half minute or
 * more slowly is worth keeping.
 */
export const DEFAULT_RESTART_POLICY: RestartPolicy = {
  firstDelayMs: 500,
  maxDelayMs: 30_000,
  resetAfterMs: 30_000,
  failuresAllowed: 10,
  windowMs: 300_000,
}

/** Up to a quarter is taken off at random, so that services that died together do not come back together. */
const JITTER = 0.25

/** The failures of one service, and what follows from them. */
export class FailureHistory {
  readonly #policy: RestartPolicy
  readonly #random: () => number
  #failures: number[] = []
  #inARow = 0

  /** @param random in [0, 1), as `Math.random`. */
  constructor(policy: RestartPolicy, random: () => number) {
    this.#policy = policy
    this.#random = random
  }

  /**
   * Counts a failure.
   *
   * @param readyForMs how long it had been ready, 0 when it never was.
   * @returns milliseconds to wait before the next start, or undefined when it is to be given up.
   */
  record(nowMs: number, readyForMs: number): number | undefined {
    const { firstDelayMs, maxDelayMs, resetAfterMs, failuresAllowed, windowMs } = this.#policy
    if (readyForMs >= resetAfterMs) this.clear()
    this.#failures = [...this.#failures.filter((at) => nowMs - at < windowMs), nowMs]
    if (this.#failures.length >= failuresAllowed) return undefined
    const delayMs = Math.min(maxDelayMs, firstDelayMs * 2 ** this.#inARow)
    this.#inARow += 1
    return delayMs * (1 - JITTER * this.#random())
  }

  /** Forgets everything: it has run well since, or somebody asked for this start. */
  clear(): void {
    this.#failures = []
    this.#inARow = 0
  }
}
