/**
 * Frames that cost us work and the sender nothing, a second. A client that cancels everything it asks for, as in
 * a search field, stays far below; CVE-2023-44487 needs thousands. gRPC measures bandwidth with pings, one each
 * round trip at the most.
 */
const LIMITS = { resets: 200, settings: 100, pings: 5_000 } as const
const WINDOW_MS = 1_000

/** Counts what one connection sends, and tells once when it is too much. */
export class FloodGauge {
  readonly #onFlood: (what: keyof typeof LIMITS) => void
  readonly #counts = { resets: 0, settings: 0, pings: 0 }
  #since = performance.now()
  #flooded = false

  constructor(onFlood: (what: keyof typeof LIMITS) => void) {
    this.#onFlood = onFlood
  }

  add(what: keyof typeof LIMITS): void {
    if (performance.now() - this.#since >= WINDOW_MS) {
      this.#since = performance.now()
      Object.assign(this.#counts, { resets: 0, settings: 0, pings: 0 })
    }
    this.#counts[what] += 1
    if (this.#flooded || this.#counts[what] <= LIMITS[what]) return
    this.#flooded = true
    this.#onFlood(what)
  }
}
