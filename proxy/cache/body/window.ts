interface Piece {
  readonly at: number
  readonly bytes: Buffer
}

/** Shorter chunks are copied together: a byte of its own would cost a hundred times itself. */
const SHORT_CHUNK_BYTES = 8 * 1024
const BLOCK_BYTES = 64 * 1024

/** The most recent bytes of a growing body, in memory. Bytes once in it never change, so they can be sent as is. */
export class Window {
  readonly #pieces: Piece[] = []
  /** Where short chunks go; the part before `#used` belongs to the last piece. */
  #block = Buffer.alloc(0)
  #used = 0
  #start = 0
  #end = 0

  /** First position that is still here. */
  get start(): number {
    return this.#start
  }

  /** One past the last position that ever came. */
  get end(): number {
    return this.#end
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    if (chunk.length < SHORT_CHUNK_BYTES) this.#pushShort(chunk)
    else {
      this.#pieces.push({ at: this.#end, bytes: chunk })
      this.#block = Buffer.alloc(0)
      this.#used = 0
    }
    this.#end += chunk.length
  }

  #pushShort(chunk: Buffer): void {
    if (this.#used + chunk.length > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      this.#used = 0
    }
    const from = this.#used
    chunk.copy(this.#block, from)
    this.#used += chunk.length
    const last = from === 0 ? undefined : this.#pieces.pop()
    this.#pieces.push({
      at: last?.at ?? this.#end,
      bytes: this.#block.subarray(from - (last?.bytes.length ?? 0), this.#used),
    })
  }

  /** Lets go of what lies wholly before `position`, piece by piece. */
  trim(position: number): void {
    let count = 0
    for (const { at, bytes } of this.#pieces) {
      if (at + bytes.length > position) break
      count += 1
    }
    if (count === 0) return
    this.#pieces.splice(0, count)
    this.#start = this.#pieces[0]?.at ?? this.#end
    if (this.#pieces.length === 0) {
      this.#block = Buffer.alloc(0)
      this.#used = 0
    }
  }

  /** The bytes from `position` on, at most `limit` of them; empty when they are not here. */
  from(position: number, limit: number): Buffer[] {
    if (position < this.#start || position >= this.#end) return []
    const found: Buffer[] = []
    let left = limit
    for (const { at, bytes } of this.#pieces) {
      if (left <= 0) break
      if (at + bytes.length <= position) continue
      const part = bytes.subarray(Math.max(0, position - at), Math.max(0, position - at) + left)
      found.push(part)
      left -= part.length
    }
    return found
  }
}
