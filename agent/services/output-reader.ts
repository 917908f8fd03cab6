import type { Readable } from 'node:stream'
import { LineSplitter } from './line-splitter.js'
import type { OutputShare } from './output-budget.js'

/** Read between two looks at what is left of the budget: a few hundred lines at most. */
const SLICE_BYTES = 1024
/** Of what is dropped at an end; an error message is there, where there is one. */
const LAST_BYTES = 4096
const NEWLINE = 0x0a

/**
 * Reads a pipe of a service line by line, as fast as the service's share of process 1's time allows. Whoever ends the
 * service does not wait for that: then all but the last words of what is left is dropped, and the drop is a line.
 */
export class OutputReader {
  /** When all that came has been emitted and nothing more can come. Never rejects. */
  readonly done: Promise<void>
  readonly #pipe: Readable
  readonly #share: OutputShare
  readonly #emit: (line: string) => void
  readonly #splitter: LineSplitter
  #lines = 0
  #bytesRead = 0
  #isDone = false
  #hurry: AbortController | undefined
  /** While bytes are dropped: the last of them, and how many there were. */
  #tail: Buffer | undefined
  #dropped = 0

  constructor(pipe: Readable, share: OutputShare, emit: (line: string) => void) {
    this.#pipe = pipe
    this.#share = share
    this.#emit = emit
    this.#splitter = new LineSplitter((line) => {
      this.#lines += 1
      emit(line)
    })
    pipe.on('error', () => undefined)
    this.done = this.#read()
  }

  get bytesRead(): number {
    return this.#bytesRead
  }

  get isDone(): boolean {
    return this.#isDone
  }

  /** From now on nothing is waited for: what the share does not allow is dropped, until {@link relax}. */
  hurry(): void {
    this.#hurry ??= new AbortController()
    this.#hurry.abort()
  }

  relax(): void {
    this.#hurry = undefined
    this.#tellDropped()
  }

  /** What comes after this is lost. */
  release(): void {
    this.#pipe.destroy()
  }

  async #read(): Promise<void> {
    try {
      for await (const chunk of this.#pipe as AsyncIterable<Buffer>) await this.#take(chunk)
    } catch {
      // Let go of before its end.
    }
    this.#tellDropped()
    this.#splitter.flush()
    this.#isDone = true
  }

  async #take(chunk: Buffer): Promise<void> {
    this.#bytesRead += chunk.length
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      if (this.#tail !== undefined || (this.#isInAHurry && this.#share.isOverdrawn))
        return this.#drop(chunk.subarray(at))
      const slice = chunk.subarray(at, at + SLICE_BYTES)
      this.#lines = 0
      this.#splitter.push(slice)
      const wait = this.#share.spend(slice.length, this.#lines, this.#hurrySignal())
      if (wait !== undefined) await wait
    }
  }

  get #isInAHurry(): boolean {
    return this.#hurry?.signal.aborted === true
  }

  #hurrySignal(): AbortSignal {
    this.#hurry ??= new AbortController()
    return this.#hurry.signal
  }

  #drop(bytes: Buffer): void {
    const all = this.#tail === undefined ? bytes : Buffer.concat([this.#tail, bytes])
    const from = Math.max(0, all.length - LAST_BYTES)
    this.#dropped += from
    // A copy: it must not hold on to the whole chunk.
    this.#tail = Buffer.from(all.subarray(from))
  }

  /** The last words follow, from where one of their lines begins. */
  #tellDropped(): void {
    const tail = this.#tail
    if (tail === undefined) return
    const begin = this.#dropped === 0 ? 0 : tail.indexOf(NEWLINE) + 1
    const dropped = this.#dropped + begin
    this.#tail = undefined
    this.#dropped = 0
    if (dropped > 0) {
      this.#splitter.flush()
      this.#emit(`… ${dropped} bytes were dropped here: more than can be logged before the end`)
    }
    this.#splitter.push(tail.subarray(begin))
  }
}
