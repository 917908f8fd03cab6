import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../process/clock.js'

/**
 * A line costs as much as this many bytes: 5 µs, of which the log in memory, the file and the output take most. A byte
 * is counted as one that has to be escaped, which costs 0.14 µs; most cost a seventh of that (Node 20).
 */
const LINE_BYTES = 32
/** For each service, a seventh of a processor: 30,000 short lines a second, or 8,000 of a hundred bytes. */
const SERVICE_BYTES_PER_SECOND = 1024 * 1024
/** A build or a start may say its 200,000 lines at once. */
const SERVICE_BURST_BYTES = 8 * 1024 * 1024
/** For all of them together, under half of a processor. */
const ALL_BYTES_PER_SECOND = 3 * SERVICE_BYTES_PER_SECOND
const ALL_BURST_BYTES = 2 * SERVICE_BURST_BYTES
/** Some 5 ms; then signals, exits and the control socket have their turn. */
const TURN_BYTES = 32 * 1024
/** A shorter wait is not worth its timer; it is waited for together with the next. */
const SHORTEST_WAIT_MS = 5

/** What one service may have process 1 read. */
export interface OutputShare {
  /**
   * Takes what was read just now. Undefined when reading may go on at once, otherwise resolves when it may, or as soon
   * as `hurry` aborts.
   */
  spend(bytes: number, lines: number, hurry: AbortSignal): Promise<void> | undefined
  /** More has been read, by it or by all, than there was to spend. */
  readonly isOverdrawn: boolean
}

/**
 * Bounds the time that process 1 spends on what services print, for each and for all of them. Who prints more is made
 * to wait, by its full pipe: then nothing is lost, and a service that must not wait can see that it would (EAGAIN).
 */
export class OutputBudget {
  readonly #clock: Clock
  readonly #all: Allowance
  #turnBytes = 0
  #turn: Promise<void> | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    this.#all = new Allowance(ALL_BYTES_PER_SECOND, ALL_BURST_BYTES, clock.now())
  }

  share(): OutputShare {
    const own = new Allowance(SERVICE_BYTES_PER_SECOND, SERVICE_BURST_BYTES, this.#clock.now())
    const debtMs = (): number => this.#debtMs(own, this.#clock.now())
    return {
      spend: (bytes, lines, hurry) => this.#spend(own, bytes + lines * LINE_BYTES, hurry),
      get isOverdrawn() {
        return debtMs() > 0
      },
    }
  }

  #spend(own: Allowance, cost: number, hurry: AbortSignal): Promise<void> | undefined {
    const now = this.#clock.now()
    own.take(cost, now)
    this.#all.take(cost, now)
    const waitMs = this.#debtMs(own, now)
    this.#turnBytes += cost
    this.#turn ??= setImmediate().then(() => {
      this.#turn = undefined
      this.#turnBytes = 0
    })
    if (waitMs >= SHORTEST_WAIT_MS) return this.#clock.sleep(waitMs, hurry)
    return this.#turnBytes >= TURN_BYTES ? this.#turn : undefined
  }

  #debtMs(own: Allowance, now: number): number {
    return Math.max(own.debtMs(now), this.#all.debtMs(now))
  }
}

/** Grows with time up to a bound, and may be overdrawn: what has been read cannot be given back. */
class Allowance {
  #left: number
  #at: number

  constructor(
    readonly perSecond: number,
    readonly most: number,
    now: number,
  ) {
    this.#left = most
    this.#at = now
  }

  take(cost: number, now: number): void {
    this.#grow(now)
    this.#left -= cost
  }

  /** Until it is no longer overdrawn; 0 when it is not. */
  debtMs(now: number): number {
    this.#grow(now)
    return this.#left >= 0 ? 0 : (-this.#left / this.perSecond) * 1_000
  }

  #grow(now: number): void {
    this.#left = Math.min(this.most, this.#left + ((now - this.#at) / 1_000) * this.perSecond)
    this.#at = now
  }
}
