import type { BodyProof } from '../body/body-proof.js'
import type { BodySource } from '../body/reader.js'
import type { TempBody } from '../body/temp-body.js'
import type { UpstreamBody } from '../body/upstream-body.js'
import { Window } from '../body/window.js'

// upstream → hash → window → temporary file → entry
//                      └──────────┴→ readers

/**
 * - `growing`: bytes arrive;
 * - `verified`: all arrived and are right, the rest of them is on its way to the disk;
 * - `kept`, `dropped`: an entry was made of them, or not;
 * - `failed`: they were not all, or not right.
 */
type FillState = 'growing' | 'verified' | 'kept' | 'dropped' | 'failed'

/**
 * What a fill holds in memory: bytes the disk has not taken yet, plus those that readers close behind still want.
 * Enough for a disk to hesitate 20 ms at 100 MB/s.
 */
const WINDOW_BYTES = 2 * 1024 * 1024
const WRITE_BATCH_BYTES = 1024 * 1024
/**
 * A shorter batch waits for more: upstream's bytes come as TLS records of 16 KiB, and each write wakes a thread, which
 * took a seventh of the time of a fill. Unwritten bytes are in the window, where readers find them.
 */
const LEAST_WRITE_BYTES = 256 * 1024

/**
 * The last bytes of a body of known length wait for the digest, so that nobody ever has all of a wrong one. As
 * much as one TLS record, which is cheaper to send than a single byte would be.
 */
const HELD_BACK_BYTES = 16 * 1024

export interface FillOptions {
  readonly body: UpstreamBody
  readonly temp: TempBody
  readonly proof: BodyProof
  /** A body that grows past this is not kept, in bytes. */
  readonly maxSize: number
  /** Whether a fill that nobody reads goes on; asked once the last reader has left, with bytes come and in all. */
  readonly goesOnUnread: (received: number, total: number | undefined) => boolean
  /** Whether a body that begins so may become an entry. */
  readonly isFit: (start: Buffer) => boolean
  /** Makes an entry of the temporary file. @throws the system's error. */
  readonly keep: (digest: string, size: number) => Promise<void>
  /** The disk gave up; the fill goes on without it. */
  readonly onDiskFailure: (error: unknown) => void
  /** The body was not what was promised; not called for `abort`. */
  readonly onBadBody: (reason: string) => void
  /** Nobody can join any more. */
  readonly onClosed: () => void
  /** Ends the upstream transfer. */
  readonly stopUpstream: () => void
}

/** Someone who reads along; both calls must be cheap. */
interface Follower {
  progressed(): void
  interrupt(): void
}

/** The body for one who joined; `leave` must be called at the end. */
export interface JoinedBody extends BodySource {
  leave(): void
}

interface Place {
  readonly follower: Follower
  position: number
}

/**
 * One upstream body, fetched once for the disk and everyone who wants it. Readers that lag behind read from the
 * file, so they cost no memory and do not slow the fill. When the disk fails, the fill goes on from memory at
 * the pace of its slowest reader.
 */
export class Fill {
  readonly #options: FillOptions
  readonly #window = new Window()
  readonly #places = new Set<Place>()
  /** Resolves when the fill has ended and its file is an entry or gone. Never rejects. */
  readonly done: Promise<void>
  /** Resolves when, besides, the last reader has left. Never rejects. */
  readonly closed: Promise<void>
  #state: FillState = 'growing'
  #failure: string | undefined
  /** Whether the file is still going to be an entry. */
  #keeping = true
  #written = 0
  #writing: Promise<void> | undefined
  #paused = false
  #ended: (() => void) | undefined
  #unused: (() => void) | undefined
  #settled = false
  #joinable = true

  constructor(options: FillOptions) {
    this.#options = options
    this.done = new Promise<void>((resolve) => (this.#ended = resolve)).then(() => this.#settle())
    this.closed = new Promise<void>((resolve) => (this.#unused = resolve)).then(() =>
      options.temp.close().catch(options.onDiskFailure),
    )
  }

  /** Begins to read. Before, the one who caused the fill joins: a small body is over within the same turn. */
  start(): void {
    this.#options.body.open({
      data: (chunk) => this.#take(chunk),
      end: () => this.#arrived(),
      error: (reason) => this.#fail(reason),
    })
    this.#heedUnread()
  }

  get state(): FillState {
    return this.#state
  }

  get total(): number | undefined {
    return this.#options.proof.total
  }

  /** How many bytes have come. */
  get frontier(): number {
    return this.#window.end
  }

  /** Makes no entry of it; those who read along have it to the end. */
  forgo(): void {
    this.#stopKeeping()
  }

  /** Ends the fill and its readers. */
  abort(reason: string): void {
    this.#fail(reason, false)
  }

  /**
   * Lets `follower` read from `position` on; undefined when those bytes are gone. `leave` must be called at the
   * end.
   */
  join(follower: Follower, position: number): JoinedBody | undefined {
    const lost = !this.#keeping && position < this.#window.start && this.#window.start > this.#written
    if (this.#state !== 'growing' || lost) return undefined
    const place: Place = { follower, position }
    this.#places.add(place)
    return this.#source(place)
  }

  #source(place: Place): JoinedBody {
    const sendable = (): number => this.#sendable
    const complete = (): boolean => this.#state !== 'growing'
    const failure = (): string | undefined => this.#failure
    return {
      get sendable() {
        return sendable()
      },
      get complete() {
        return complete()
      },
      get failure() {
        return failure()
      },
      recent: (position, limit) => this.#window.from(position, limit),
      read: (into, position) =>
        this.#options.temp.read(into.subarray(0, Math.max(0, this.#written - position)), position),
      advance: (position) => {
        place.position = position
        this.#release()
      },
      leave: () => this.#leave(place),
    }
  }

  get #sendable(): number {
    const { total } = this.#options.proof
    const { end } = this.#window
    if (this.#state !== 'growing' || total === undefined) return end
    return Math.min(end, Math.max(0, total - HELD_BACK_BYTES))
  }

  #take(chunk: Buffer): void {
    if (this.#state !== 'growing') return
    const complaint = this.#options.proof.add(chunk)
    if (complaint !== undefined) return this.#fail(complaint)
    this.#window.push(chunk)
    if (this.#keeping && this.#window.end > this.#options.maxSize) this.#stopKeeping()
    if (this.#window.end - this.#written >= LEAST_WRITE_BYTES) this.#write()
    this.#steer()
    for (const { follower } of this.#places) follower.progressed()
  }

  #arrived(): void {
    if (this.#state !== 'growing') return
    const verdict = this.#options.proof.verdict()
    if ('complaint' in verdict) return this.#fail(verdict.complaint)
    this.#transition('verified')
    for (const { follower } of this.#places) follower.progressed()
    this.#finish(verdict.digest).catch(this.#options.onDiskFailure)
  }

  async #finish(digest: string): Promise<void> {
    while (this.#hasUnwritten) {
      this.#write()
      await this.#writing
    }
    if (this.#keeping && this.#options.isFit(this.#options.proof.start)) {
      try {
        await this.#options.keep(digest, this.#window.end)
        this.#transition('kept')
        return
      } catch (error) {
        this.#stopKeeping(error)
      }
    }
    this.#transition('dropped')
  }

  #fail(reason: string, report = true): void {
    if (this.#state !== 'growing') return
    this.#failure = reason
    this.#keeping = false
    // First of all: stopping upstream comes back here.
    this.#transition('failed')
    this.#options.body.destroy()
    this.#options.stopUpstream()
    if (report) this.#options.onBadBody(reason)
    for (const { follower } of this.#places) follower.interrupt()
  }

  /** Goes on without the disk: what is written stays readable, what follows passes through memory. */
  #stopKeeping(error?: unknown): void {
    if (!this.#keeping) return
    this.#keeping = false
    if (error !== undefined) this.#options.onDiskFailure(error)
    this.#close()
    this.#release()
    if (this.#places.size === 0) this.abort('nobody reads it and it cannot be kept')
  }

  #transition(to: FillState): void {
    this.#state = to
    switch (to) {
      case 'growing':
      case 'verified':
        return
      case 'kept':
      case 'dropped':
      case 'failed':
        this.#close()
        this.#ended?.()
    }
  }

  #close(): void {
    if (!this.#joinable) return
    this.#joinable = false
    this.#options.onClosed()
  }

  #write(): void {
    if (this.#writing !== undefined || !this.#hasUnwritten) return
    this.#writing = this.#writeAll()
  }

  get #hasUnwritten(): boolean {
    return this.#keeping && this.#written < this.#window.end
  }

  async #writeAll(): Promise<void> {
    try {
      do {
        const pieces = this.#window.from(this.#written, WRITE_BATCH_BYTES)
        const length = await this.#options.temp.write(pieces, this.#written)
        this.#written += length
        this.#release()
      } while (this.#keeping && this.#window.end - this.#written >= LEAST_WRITE_BYTES)
    } catch (error) {
      this.#stopKeeping(error)
    } finally {
      // In the same turn as the look that found nothing left, or what comes between would wait for ever.
      this.#writing = undefined
    }
  }

  /** Lets go of the bytes nobody needs from memory any more, and lets upstream go on if that made room. */
  #release(): void {
    let needed = this.#window.end
    for (const { position } of this.#places) {
      if (!this.#keeping) needed = Math.min(needed, Math.max(position, this.#written))
      else if (position >= this.#window.start) needed = Math.min(needed, position)
    }
    const bound = this.#keeping
      ? Math.min(this.#written, Math.max(needed, this.#window.end - WINDOW_BYTES))
      : needed
    this.#window.trim(bound)
    this.#steer()
  }

  #steer(): void {
    const { body } = this.#options
    const held = this.#window.end - (this.#keeping ? this.#written : this.#window.start)
    if (!this.#paused && held >= WINDOW_BYTES) {
      this.#paused = true
      body.pause()
    } else if (this.#paused && held <= WINDOW_BYTES / 2) {
      this.#paused = false
      body.resume()
    }
  }

  #leave(place: Place): void {
    this.#places.delete(place)
    this.#release()
    if (this.#places.size > 0) return
    if (!this.#keeping) this.abort('nobody reads it and it cannot be kept')
    else this.#heedUnread()
    if (this.#settled) this.#unused?.()
  }

  #heedUnread(): void {
    if (this.#places.size > 0) return
    // Later: those who have waited for the head join only after the one who asked for it.
    setImmediate(() => {
      if (this.#places.size > 0 || this.#state !== 'growing') return
      if (!this.#options.goesOnUnread(this.#window.end, this.total)) this.abort('nobody reads it any more')
    })
  }

  async #settle(): Promise<void> {
    await this.#writing
    if (this.#state !== 'kept') await this.#options.temp.unlink().catch(this.#options.onDiskFailure)
    this.#settled = true
    if (this.#places.size === 0) this.#unused?.()
  }
}
