import { LARGE_PIECE_BYTES, SMALL_PIECE_BYTES } from './pace.js'

/** A buffer on loan. Exactly one of the two ends it. */
export interface LentBuffer {
  readonly bytes: Buffer
  /** Nobody refers to it any more. */
  giveBack(): void
  /** A socket may still refer to it: it is left to the garbage collector. */
  abandon(): void
}

const LARGE_BYTES = LARGE_PIECE_BYTES
/** So many readers are served at full speed at once; those beyond get small buffers. Nobody waits for a buffer. */
const MAX_LARGE = 16
const SMALL_BYTES = SMALL_PIECE_BYTES
/** Kept for reuse, 4 MiB; more may be on loan. What is not kept is garbage, of which V8 lets 32 MiB come together. */
const MAX_IDLE_SMALL = 64

/** Buffers for reading files: a new one per read cost 600 MB resident (`facts.md`). */
export class BufferPool {
  readonly #large: Buffer[] = []
  readonly #small: Buffer[] = []
  #largeOnLoan = 0

  /** @param wanted how many bytes there are to read; the buffer may be shorter or longer. */
  lend(wanted: number): LentBuffer {
    return wanted > SMALL_BYTES && this.#largeOnLoan < MAX_LARGE ? this.#lendLarge() : this.#lendSmall()
  }

  #lendLarge(): LentBuffer {
    this.#largeOnLoan += 1
    const bytes = this.#large.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES)
    return {
      bytes,
      giveBack: () => {
        this.#largeOnLoan -= 1
        this.#large.push(bytes)
      },
      abandon: () => {
        this.#largeOnLoan -= 1
      },
    }
  }

  #lendSmall(): LentBuffer {
    const bytes = this.#small.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES)
    return {
      bytes,
      giveBack: () => {
        if (this.#small.length < MAX_IDLE_SMALL) this.#small.push(bytes)
      },
      abandon: () => undefined,
    }
  }
}
