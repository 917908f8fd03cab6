import { writeSync } from 'node:fs'
import { codeOf } from '../errors.js'

/** What a reader may be behind: a moment of a busy terminal, not its absence. */
const MAX_PENDING_BYTES = 1024 * 1024
/** Lines are taken again once this much of it is read, so that not every second line is a loss. */
const RESUME_BYTES = MAX_PENDING_BYTES / 2
/** PIPE_BUF: what is not longer is written to a pipe as a whole, whoever else writes to it (pipe(7)). */
const GATHERED_CHARACTERS = 4096
const RETRY_MS = 20
/** For the last words, at the end of the process: a reader that is there at all has read them by then. */
const LAST_WORDS_MS = 200
const LAST_WORDS_PAUSE_MS = 2

/** Whole lines that are written together. */
interface Batch {
  readonly bytes: Buffer
  readonly lines: number
}

/**
 * Writes lines to a descriptor whose reader may stall or go away. Neither an init nor a data path may wait for
 * whoever reads its log: what does not fit into a bounded queue is lost, and counted.
 */
export class LineOutput {
  readonly #descriptor: number
  readonly #onLost: (lines: number, reason: string) => void
  readonly #gathers: boolean
  /** Lines of this turn of the event loop. */
  #gathered = ''
  #gatheredLines = 0
  #turnEnd: NodeJS.Immediate | undefined
  #pending: Batch[] = []
  #pendingBytes = 0
  #lost = 0
  #reason = ''
  #full = false
  #retry: NodeJS.Timeout | undefined
  #watchesExit = false
  readonly #atExit = (): void => this.#lastWords()

  /**
   * @param onLost called once lines are taken again; may write.
   * @param gathers writes the lines of one turn of the event loop together, at its end or that of the process: for
   *   logs of so many lines that each of them is to cost no system call.
   */
  constructor(descriptor: number, onLost: (lines: number, reason: string) => void, gathers = false) {
    this.#descriptor = descriptor
    this.#onLost = onLost
    this.#gathers = gathers
  }

  /** A whole line with its newline. Never blocks on a pipe or terminal that Node has opened, never throws. */
  write(line: string): void {
    if (this.#full) {
      this.#lost += 1
      return
    }
    if (this.#gathered.length + line.length > GATHERED_CHARACTERS) this.#send()
    this.#gathered += line
    this.#gatheredLines += 1
    if (!this.#gathers) {
      this.#send()
      return
    }
    this.#watchExit()
    this.#turnEnd ??= setImmediate(() => this.#send()).unref()
  }

  /** Lets go of the descriptor; what the reader has not taken by now is lost. */
  close(): void {
    this.#send()
    clearTimeout(this.#retry)
    this.#pending = []
    this.#pendingBytes = 0
    this.#forgetExit()
  }

  #send(): void {
    clearImmediate(this.#turnEnd)
    this.#turnEnd = undefined
    if (this.#gatheredLines > 0) {
      const bytes = Buffer.from(this.#gathered)
      this.#pending.push({ bytes, lines: this.#gatheredLines })
      this.#pendingBytes += bytes.length
      this.#gathered = ''
      this.#gatheredLines = 0
    }
    if (this.#flush()) {
      if (this.#lost > 0) this.#tellLost()
    } else if (this.#pendingBytes > MAX_PENDING_BYTES) {
      this.#full = true
      this.#reason = 'nobody read them'
    }
  }

  /** Whether all of it has been written. */
  #flush(): boolean {
    for (let head = this.#pending[0]; head !== undefined; head = this.#pending[0]) {
      const { bytes, lines } = head
      try {
        const written = writeSync(this.#descriptor, bytes)
        this.#pendingBytes -= written
        if (written < bytes.length) this.#pending[0] = { bytes: bytes.subarray(written), lines }
        else this.#pending.shift()
      } catch (error) {
        if (codeOf(error) === 'EAGAIN') this.#tryLater()
        else this.#drop(codeOf(error) ?? String(error))
        return false
      }
    }
    this.#forgetExit()
    clearTimeout(this.#retry)
    this.#retry = undefined
    return true
  }

  #tryLater(): void {
    this.#watchExit()
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
    this.#lost += this.#pending.reduce((sum, { lines }) => sum + lines, 0)
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

  #watchExit(): void {
    if (this.#watchesExit) return
    process.once('exit', this.#atExit)
    this.#watchesExit = true
  }

  #forgetExit(): void {
    if (!this.#watchesExit) return
    process.off('exit', this.#atExit)
    this.#watchesExit = false
  }

  #lastWords(): void {
    this.#send()
    const until = performance.now() + LAST_WORDS_MS
    const nothing = new Int32Array(new SharedArrayBuffer(4))
    while (this.#pending.length > 0 && performance.now() < until) {
      Atomics.wait(nothing, 0, 0, LAST_WORDS_PAUSE_MS)
      this.#flush()
    }
    clearTimeout(this.#retry)
  }
}
