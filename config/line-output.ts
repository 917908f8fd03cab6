import { writeSync } from 'node:fs'
import { codeOf } from './errors.js'

/** What a reader may be behind: a moment of a busy terminal, not its absence. */
const MAX_PENDING_BYTES = 1024 * 1024
/** Lines are taken again once this much of it is read, so that not every second line is a loss. */
const RESUME_BYTES = MAX_PENDING_BYTES / 2
const RETRY_MS = 20
/** For the last words, at the end of the process: a reader that is there at all has read them by then. */
const LAST_WORDS_MS = 200
const LAST_WORDS_PAUSE_MS = 2

/**
 * Writes lines to a descriptor whose reader may stall or go away. Neither an init nor a data path may wait for
 * whoever reads its log: what does not fit into a bounded queue is lost, and counted.
 */
export class LineOutput {
  readonly #descriptor: number
  readonly #onLost: (lines: number, reason: string) => void
  #pending: Buffer[] = []
  #pendingBytes = 0
  #lost = 0
  #reason = ''
  #full = false
  #retry: NodeJS.Timeout | undefined
  readonly #atExit = (): void => this.#lastWords()

  /** @param onLost called once lines are taken again; may write. */
  constructor(descriptor: number, onLost: (lines: number, reason: string) => void) {
    this.#descriptor = descriptor
    this.#onLost = onLost
  }

  /** A whole line with its newline. Never blocks on a pipe or terminal that Node has opened, never throws. */
  write(line: string): void {
    if (this.#full) {
      this.#lost += 1
      return
    }
    const bytes = Buffer.from(line)
    this.#pending.push(bytes)
    this.#pendingBytes += bytes.length
    if (this.#flush()) {
      if (this.#lost > 0) this.#tellLost()
    } else if (this.#pendingBytes > MAX_PENDING_BYTES) {
      this.#full = true
      this.#reason = 'nobody read them'
    }
  }

  /** Lets go of the descriptor; what is still pending is lost. */
  close(): void {
    clearTimeout(this.#retry)
    this.#pending = []
    this.#pendingBytes = 0
    process.off('exit', this.#atExit)
  }

  /** Whether all of it has been written. */
  #flush(): boolean {
    for (let head = this.#pending[0]; head !== undefined; head = this.#pending[0]) {
      try {
        const written = writeSync(this.#descriptor, head)
        this.#pendingBytes -= written
        if (written < head.length) this.#pending[0] = head.subarray(written)
        else this.#pending.shift()
      } catch (error) {
        if (codeOf(error) === 'EAGAIN') this.#tryLater()
        else this.#drop(codeOf(error) ?? String(error))
        return false
      }
    }
    if (this.#retry !== undefined) process.off('exit', this.#atExit)
    clearTimeout(this.#retry)
    this.#retry = undefined
    return true
  }

  #tryLater(): void {
    if (this.#retry === undefined) process.once('exit', this.#atExit)
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => {
      this.#flush()
      if (!this.#full || this.#pendingBytes > RESUME_BYTES) return
      this.#full = false
      if (this.#lost > 0) this.#tellLost()
    }, RETRY_MS).unref()
  }

  /** EPIPE, ENOSPC, EIO: there is no point in keeping it for later, but later lines may fare better. */
  #drop(reason: string): void {
    this.#lost += this.#pending.length
    this.#reason = reason
    this.#pending = []
    this.#pendingBytes = 0
    this.#full = false
  }

  #tellLost(): void {
    const lines = this.#lost
    this.#lost = 0
    this.#onLost(lines, this.#reason)
    // Telling it was lost as well.
    if (this.#lost > 0) this.#lost += lines
  }

  #lastWords(): void {
    const until = performance.now() + LAST_WORDS_MS
    const nothing = new Int32Array(new SharedArrayBuffer(4))
    while (this.#pending.length > 0 && performance.now() < until) {
      Atomics.wait(nothing, 0, 0, LAST_WORDS_PAUSE_MS)
      this.#flush()
    }
    clearTimeout(this.#retry)
  }
}
