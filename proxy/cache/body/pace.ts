/**
 * What one write hands to a socket that may be slow. It is held twice while the client does not read, once as it
 * is and once encrypted: 64 stalled readers hold 8 MiB with this, and held 90 with what suits a quick one.
 */
export const SMALL_PIECE_BYTES = 64 * 1024
/**
 * For a client that keeps up. Over plain HTTP from the page cache, 64 KiB gave 790 MB/s, 256 KiB 1,950, 1 MiB 3,090,
 * medians of nine; over TLS a fifth less with 256 KiB than with more, and what is encrypted at once is memory that
 * the process does not give back.
 */
export const LARGE_PIECE_BYTES = 512 * 1024

/** The system takes up to 4 MiB off us before a client reads anything (the kernel's `tcp_wmem`). */
const TRUSTED_AFTER_BYTES = 6 * 1024 * 1024
/** 8 MiB/s. A slower client gains nothing by large pieces: what costs it time is its line. */
const QUICK_BYTES_PER_MS = 8 * 1024
/** A busy event loop comes round so late, whatever the client does. */
const LEEWAY_MS = 10

/** How much to hand to a client at a time, by how quickly it took what it was given. */
export class Pace {
  #quickBytes = 0

  /** It has kept up for long enough. */
  get isQuick(): boolean {
    return this.#quickBytes >= TRUSTED_AFTER_BYTES
  }

  /** Bytes. */
  get piece(): number {
    return this.isQuick ? LARGE_PIECE_BYTES : SMALL_PIECE_BYTES
  }

  took(bytes: number, elapsedMs: number): void {
    const quick = elapsedMs <= LEEWAY_MS + bytes / QUICK_BYTES_PER_MS
    this.#quickBytes = quick ? this.#quickBytes + bytes : 0
  }
}
