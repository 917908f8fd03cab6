const NEWLINE = 0x0a

/** A line longer than this is cut there; what follows is the next line. */
export const MAX_LINE_BYTES = 64 * 1024

/**
 * Cuts a stream of bytes into lines without their ends (`\n`, `\r\n`). Holds at most {@link MAX_LINE_BYTES},
 * whatever it is fed, and swallows empty lines.
 */
export class LineSplitter {
  readonly #emit: (line: string) => void
  #pending: Buffer[] = []
  #pendingBytes = 0

  constructor(emit: (line: string) => void) {
    this.#emit = emit
  }

  push(chunk: Buffer): void {
    let start = 0
    while (start < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, start)
      const wanted = newline < 0 ? chunk.length : newline
      const end = Math.min(wanted, start + MAX_LINE_BYTES - this.#pendingBytes)
      this.#pending.push(chunk.subarray(start, end))
      this.#pendingBytes += end - start
      if (end === newline) {
        this.flush()
        start = end + 1
      } else {
        if (this.#pendingBytes === MAX_LINE_BYTES) this.flush()
        start = end
      }
    }
  }

  /** The stream has ended: what is left is a line too. */
  flush(): void {
    const line = Buffer.concat(this.#pending).toString('utf8').replace(/\r$/, '')
    this.#pending = []
    this.#pendingBytes = 0
    if (line !== '') this.#emit(line)
  }
}
