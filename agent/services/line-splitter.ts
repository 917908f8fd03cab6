const NEWLINE = 0x0a

/** A line longer than this is cut there, between two characters; what follows is the next line. */
export const MAX_LINE_BYTES = 64 * 1024
/** Stands at the end of a line that goes on in the next one. */
export const CUT_MARK = '…'

/**
 * Cuts a stream of bytes into lines without their ends (`\n`, `\r\n`). Holds at most {@link MAX_LINE_BYTES},
 * whatever it is fed, and swallows empty lines. What is no UTF-8 becomes U+FFFD.
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
      // A flood of newlines alone must not cost as much as lines.
      if (this.#pendingBytes === 0 && chunk[start] === NEWLINE) {
        start += 1
        continue
      }
      const newline = chunk.indexOf(NEWLINE, start)
      const wanted = newline < 0 ? chunk.length : newline
      const end = Math.min(wanted, start + MAX_LINE_BYTES - this.#pendingBytes)
      this.#pending.push(chunk.subarray(start, end))
      this.#pendingBytes += end - start
      if (end === newline) {
        this.flush()
        start = end + 1
      } else {
        if (this.#pendingBytes === MAX_LINE_BYTES) this.#cut()
        start = end
      }
    }
  }

  /** The stream has ended: what is left is a line too. */
  flush(): void {
    const line = this.#take().toString('utf8').replace(/\r$/, '')
    if (line !== '') this.#emit(line)
  }

  #cut(): void {
    const bytes = this.#take()
    const end = bytes.length - unfinishedBytes(bytes)
    this.#emit(bytes.toString('utf8', 0, end) + CUT_MARK)
    // A copy: the rest must not hold on to the whole line.
    if (end < bytes.length) this.#pending = [Buffer.from(bytes.subarray(end))]
    this.#pendingBytes = bytes.length - end
  }

  #take(): Buffer {
    const [first, ...more] = this.#pending
    const bytes = first !== undefined && more.length === 0 ? first : Buffer.concat(this.#pending)
    this.#pending = []
    this.#pendingBytes = 0
    return bytes
  }
}

/** Of a character at the very end that has not all its bytes yet: RFC 3629, section 3. */
function unfinishedBytes(bytes: Buffer): number {
  for (let back = 1; back <= 3; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0
    if (byte < 0x80) return 0
    if (byte < 0xc0) continue
    const wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return back < wanted ? back : 0
  }
  return 0
}
