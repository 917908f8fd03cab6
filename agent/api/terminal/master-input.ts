import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../../../base/errors.js'

/** Between two tries while the program does not read: libuv has no event for it, and people do not feel it. */
const RETRY_MS = 20

/**
 * Writes to the master of a pseudo terminal, which must be non-blocking. Not through a stream of Node's: libuv holds
 * that writes to a master may block, and a program that reads nothing would stop us all.
 */
export class MasterInput {
  readonly #fd: number
  #last: Promise<void> = Promise.resolve()
  #closed = false

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Resolves when the terminal has taken it, after all that was written before; or when it is closed. */
  write(bytes: Buffer): Promise<void> {
    this.#last = this.#last.then(() => this.#writeAll(bytes))
    return this.#last
  }

  /** Writes nothing any more. Resolves when the descriptor may be closed. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#last
  }

  async #writeAll(bytes: Buffer): Promise<void> {
    let at = 0
    while (at < bytes.length && !this.#closed) {
      const taken = await this.#writeSome(bytes.subarray(at))
      if (taken === undefined) return
      at += taken
      if (taken === 0) await sleep(RETRY_MS)
    }
  }

  /** Undefined when nobody is at the other end any more. */
  #writeSome(bytes: Buffer): Promise<number | undefined> {
    return new Promise((resolve) => {
      write(this.#fd, bytes, (error, taken) => {
        if (error === null) resolve(taken)
        else resolve(codeOf(error) === 'EAGAIN' ? 0 : undefined)
      })
    })
  }
}
