import { DiskReserveError } from '../contract/errors.js'
import type { Incidents } from '../contract/incidents.js'

/** Others fill the disk too, and do not tell us. */
const LOOK_INTERVAL_MS = 10_000
/** So much is written before the next look, and freed beyond the need so that not every look finds one. */
const STEP_BYTES = 16 * 1024 * 1024
const UNSEEN = 'cache cannot see how much of the disk is free'

interface ReserveOptions {
  /** Bytes of the disk that are to stay free; 0: the disk may be filled. */
  readonly minFree: number
  /** Bytes of the disk that are free to us. @throws the system's error. */
  readonly freeBytes: () => Promise<number>
  /** Removes entries of so many bytes in all, as far as there are any; resolves when they are gone. */
  readonly evict: (bytes: number) => Promise<void>
  readonly incidents: Incidents
}

/** Part of the disk that is left free, whoever fills it: entries make room before it is touched. */
export class Reserve {
  readonly #options: ReserveOptions
  readonly #timer: NodeJS.Timeout
  #minFree: number
  /** Bytes that may be written before the disk is looked at again. */
  #granted = 0
  #headroom = Infinity
  #looking: Promise<void> | undefined

  constructor(options: ReserveOptions) {
    this.#options = options
    this.#minFree = options.minFree
    this.#timer = setInterval(() => this.#lookAside(), LOOK_INTERVAL_MS).unref()
    this.#lookAside()
  }

  /**
   * Evicting everything for what does not fit then either would be a loss for nothing.
   *
   * @param stored bytes that eviction could free.
   * @throws DiskReserveError as far as can be told from the last look.
   */
  assertRoomFor(bytes: number, stored: number): void {
    if (this.#minFree > 0 && bytes > this.#headroom + stored) throw new DiskReserveError(this.#minFree)
  }

  resize(minFree: number): void {
    this.#minFree = minFree
    this.#granted = 0
    this.#lookAside()
  }

  /** Resolves when so many bytes may be written. @throws DiskReserveError when they may not. */
  async claim(bytes: number): Promise<void> {
    if (this.#minFree === 0) return
    if (bytes > this.#granted) await this.#look(bytes)
    if (bytes > this.#granted) throw new DiskReserveError(this.#minFree)
    this.#granted -= bytes
  }

  /** Resolves when no look is under way, and there will be none. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#minFree = 0
    await this.#looking
  }

  /** Nobody waits for this look. */
  #lookAside(): void {
    this.#look().catch((error: unknown) => this.#options.incidents.report(UNSEEN, error))
  }

  async #look(needed = 0): Promise<void> {
    // Whoever waited for another's look may find that it has been used up.
    while (this.#looking !== undefined) await this.#looking
    if (this.#minFree === 0 || (needed > 0 && needed <= this.#granted)) return
    this.#looking = this.#measure(Math.max(needed, STEP_BYTES)).finally(() => (this.#looking = undefined))
    await this.#looking
  }

  async #measure(wanted: number): Promise<void> {
    const { freeBytes, evict, incidents } = this.#options
    try {
      let free = await freeBytes()
      if (free < this.#minFree + wanted) {
        await evict(this.#minFree + wanted - free)
        free = await freeBytes()
      }
      this.#headroom = free - this.#minFree
      this.#granted = Math.min(wanted, this.#headroom)
    } catch (error) {
      // What cannot be known cannot be kept to; a disk that is full says so itself.
      incidents.report(UNSEEN, error)
      this.#granted = wanted
    }
  }
}
