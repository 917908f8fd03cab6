import { finished, type Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { reasonOf } from '../../../base/errors.js'

interface BodyEvents {
  data(chunk: Buffer): void
  /** All has come; nothing follows. */
  end(): void
  /** The rest will not come; nothing follows. */
  error(reason: string): void
}

/** The rest of a body, and at which position it says to end. */
interface Rest {
  readonly body: Readable
  readonly end: number
}

/**
 * Asks upstream for the rest from `position` on. Resolves with undefined when it cannot give it; rejects when
 * trying again may help.
 */
export type Proceed = (position: number) => Promise<Rest | undefined>

/**
 * How long to wait before each attempt to go on: a server that restarts is back within seconds, and readers that
 * wait longer than about 4 s for a byte may take the connection for dead. A body broken off more often than this
 * is given up.
 */
const ATTEMPT_DELAYS_MS = [0, 250, 1000, 2500]

/** Upstream's body as one, over as many answers as it takes. */
export class UpstreamBody {
  readonly #proceed: Proceed | undefined
  readonly #stopped = new AbortController()
  #current: Readable
  #events: BodyEvents | undefined
  #received = 0
  /** Where the rest that is read says to end; the first answer's length is for who takes the body to check. */
  #end: number | undefined
  #attempts = 0
  #paused = false

  /** @param proceed absent where the rest of a broken body cannot be told from that of another. */
  constructor(first: Readable, proceed: Proceed | undefined) {
    this.#current = first
    this.#proceed = proceed
  }

  open(events: BodyEvents): void {
    this.#events = events
    this.#listen(this.#current)
  }

  pause(): void {
    this.#paused = true
    this.#current.pause()
  }

  resume(): void {
    this.#paused = false
    this.#current.resume()
  }

  /** Nothing is told any more. */
  destroy(): void {
    this.#stopped.abort()
    this.#current.destroy()
  }

  #listen(body: Readable): void {
    this.#current = body
    finished(body, { writable: false }, (error) => {
      if (this.#stopped.signal.aborted) return
      const isShort = this.#end !== undefined && this.#received < this.#end
      if (isShort) error ??= new Error(`upstream ended a part before byte ${this.#end}`)
      if (error === null || error === undefined) this.#events?.end()
      else this.#continue(reasonOf(error)).catch((fault: unknown) => this.#events?.error(reasonOf(fault)))
    })
    body.on('data', (chunk: Buffer) => {
      this.#received += chunk.length
      try {
        if (this.#received > (this.#end ?? Infinity))
          throw new Error('upstream sent more of a part than it announced')
        this.#events?.data(chunk)
      } catch (fault) {
        this.destroy()
        this.#events?.error(reasonOf(fault))
      }
    })
    if (this.#paused) body.pause()
  }

  async #continue(reason: string): Promise<void> {
    const next = await this.#next()
    if (this.#stopped.signal.aborted) next?.body.destroy()
    else if (next === undefined) this.#events?.error(reason)
    else {
      this.#end = next.end
      this.#listen(next.body)
    }
  }

  async #next(): Promise<Rest | undefined> {
    for (; this.#proceed !== undefined && this.#attempts < ATTEMPT_DELAYS_MS.length;) {
      const waitMs = ATTEMPT_DELAYS_MS[this.#attempts]
      this.#attempts += 1
      try {
        await delay(waitMs, undefined, { signal: this.#stopped.signal })
        return await this.#proceed(this.#received)
      } catch {
        if (this.#stopped.signal.aborted) return undefined
      }
    }
    return undefined
  }
}
