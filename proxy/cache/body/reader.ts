import { reasonOf } from '../../../base/errors.js'
import type { BufferPool, LentBuffer } from './buffer-pool.js'
import type { Client } from './client.js'
import { BodyAbortedError } from '../contract/errors.js'
import { Pace } from './pace.js'

/** A body to be sent, whole or still growing. */
export interface BodySource {
  /** Bytes before this position may be sent now. */
  readonly sendable: number
  /** Nothing will be added to `sendable`. */
  readonly complete: boolean
  /** Why the rest will never come. */
  readonly failure: string | undefined
  /** Bytes from `position` on that are in memory, at most `limit`; empty when they have to be read. */
  recent(position: number, limit: number): Buffer[]
  /** Resolves with how many bytes from `position` on were put into `into`; 0 past the end of the file. */
  read(into: Buffer, position: number): Promise<number>
  /** The reader has sent all before `position` and will not ask for it again. */
  advance(position: number): void
}

/** A piece that is being read. */
interface Ahead {
  readonly from: number
  readonly lent: LentBuffer
  readonly read: Promise<number>
}

/**
 * The first piece of a body that is still coming: fifty readers who wait for it are each a write, and the last of
 * them waits for all the others. One TLS record.
 */
const FIRST_PIECE_BYTES = 16 * 1024

/**
 * Sends part of a body at the client's own speed, one buffer at a time: the next bytes are looked for only when
 * the socket has taken the last.
 */
export class Reader {
  readonly #client: Client
  readonly #buffers: BufferPool
  readonly #pace = new Pace()
  /** Ends the wait for more bytes. */
  #more: (() => void) | undefined
  /** Ends any wait. */
  #stop: (() => void) | undefined
  #aborted: string | undefined
  #ahead: Ahead | undefined
  #sent = 0

  constructor(client: Client, buffers: BufferPool) {
    this.#client = client
    this.#buffers = buffers
  }

  /** Bytes of bodies that the socket has taken. */
  get sent(): number {
    return this.#sent
  }

  /** The source has grown or is complete. */
  progressed(): void {
    this.#more?.()
  }

  /** The source has failed. */
  interrupt(): void {
    this.#stop?.()
  }

  /** Makes a running `send` fail at once. */
  abort(reason: string): void {
    this.#aborted = reason
    this.interrupt()
  }

  /**
   * Sends bytes `from` to `to` (exclusive; Infinity means up to the end), and ends the response after the `last`
   * part. Resolves with the number of bytes sent, fewer than asked only when the client left.
   *
   * @throws BodyAbortedError when the source ends short.
   */
  async send(source: BodySource, from: number, to: number, last: boolean): Promise<number> {
    const { response } = this.#client
    const forget = this.#client.onGone(() => this.interrupt())
    let position = from
    try {
      while (!this.#client.gone) {
        const failure = this.#aborted ?? source.failure
        if (failure !== undefined) throw new BodyAbortedError(failure)
        const limit = Math.min(source.sendable, to)
        const reachesEnd = limit === to || (to === Infinity && source.complete)
        if (position < limit) {
          const sent = await this.#sendSome(source, position, limit, reachesEnd && last)
          if (sent === undefined) continue
          position += sent
          this.#sent += sent
          source.advance(position)
        } else if (reachesEnd) {
          if (last && !response.writableEnded) await this.#flush([], 0, true)
          break
        } else {
          await this.#grown()
        }
      }
      return position - from
    } finally {
      forget()
      await this.#dropAhead()
    }
  }

  /** Sends what goes between parts; resolves with its length, or 0 when the client left. */
  async sendText(text: Buffer, last: boolean): Promise<number> {
    const forget = this.#client.onGone(() => this.interrupt())
    try {
      return !this.#client.gone && (await this.#flush([text], text.length, last)) ? text.length : 0
    } finally {
      forget()
    }
  }

  /** Resolves with how much was sent, or with undefined when the client left or the source failed meanwhile. */
  async #sendSome(
    source: BodySource,
    from: number,
    limit: number,
    reachesEnd: boolean,
  ): Promise<number | undefined> {
    const most = Math.min(limit - from, this.#pace.piece)
    const recent = source.recent(
      from,
      source.complete || this.#sent > 0 ? most : Math.min(most, FIRST_PIECE_BYTES),
    )
    if (recent.length > 0) {
      const length = recent.reduce((sum, { length }) => sum + length, 0)
      return (await this.#flush(recent, length, reachesEnd && from + length === limit)) ? length : undefined
    }
    const { lent, read } = await this.#taken(source, from, most)
    let free = true
    try {
      const length = await read
      // Reading takes time in which the source may have turned out wrong.
      if (this.#client.gone || this.#aborted !== undefined || source.failure !== undefined) return undefined
      const end = reachesEnd && from + length === limit
      if (!end && this.#pace.isQuick) this.#readAhead(source, from + length, limit)
      free = await this.#flush([lent.bytes.subarray(0, length)], length, end)
      return free ? length : undefined
    } finally {
      if (free) lent.giveBack()
      else lent.abandon()
    }
  }

  /** What was read ahead, if it is that, or a read that begins now. */
  async #taken(source: BodySource, from: number, most: number): Promise<Ahead> {
    const ahead = this.#ahead
    if (ahead?.from === from) {
      this.#ahead = undefined
      return ahead
    }
    await this.#dropAhead()
    return this.#begin(source, from, most)
  }

  /** While the socket takes one piece the disk gives the next, for a client that will want it soon. */
  #readAhead(source: BodySource, from: number, limit: number): void {
    // What is in memory may not be on the disk yet.
    if (from >= limit || source.recent(from, 1).length > 0) return
    this.#ahead = this.#begin(source, from, Math.min(limit - from, this.#pace.piece))
  }

  #begin(source: BodySource, from: number, most: number): Ahead {
    const lent = this.#buffers.lend(most)
    const read = readSome(source, lent.bytes.subarray(0, most), from)
    // Told to who takes it, if anybody does.
    read.catch(() => undefined)
    return { from, lent, read }
  }

  async #dropAhead(): Promise<void> {
    const ahead = this.#ahead
    this.#ahead = undefined
    if (ahead === undefined) return
    await ahead.read.catch(() => undefined)
    ahead.lent.giveBack()
  }

  /**
   * Resolves with true when the socket has taken all, with false when there is no use in waiting on: whatever
   * the reason, the socket may still refer to the pieces then.
   */
  #flush(pieces: readonly Buffer[], bytes: number, end: boolean): Promise<boolean> {
    const { response } = this.#client
    const started = performance.now()
    return new Promise((resolve) => {
      const settle = (flushed: boolean): void => {
        this.#stop = undefined
        this.#pace.took(bytes, performance.now() - started)
        resolve(flushed)
      }
      this.#stop = () => settle(false)
      const written = (error: Error | null | undefined): void => {
        const failed = error !== null && error !== undefined
        if (failed) this.#client.lost()
        settle(!failed)
      }
      const [first, ...others] = pieces
      if (others.length === 0) {
        if (end) response.end(first, () => settle(true))
        else response.write(first, written)
        return
      }
      const last = others.length - 1
      response.cork()
      response.write(first)
      for (const [at, piece] of others.entries())
        response.write(piece, at === last && !end ? written : undefined)
      // Before the end: Node 22 and 24 put the mark of the last chunk in front of what is corked, which cuts it off.
      response.uncork()
      if (end) response.end(() => settle(true))
    })
  }

  #grown(): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        this.#more = undefined
        this.#stop = undefined
        resolve()
      }
      this.#more = settle
      this.#stop = settle
    })
  }
}

async function readSome(source: BodySource, into: Buffer, position: number): Promise<number> {
  let length: number
  try {
    length = await source.read(into, position)
  } catch (error) {
    throw new BodyAbortedError(reasonOf(error), { cause: error })
  }
  if (length === 0) throw new BodyAbortedError('its file ends short')
  return length
}
