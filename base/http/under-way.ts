import type { LeaveReason } from './route.js'

/** The requests being answered, each with what makes it stop. */
export class UnderWay {
  readonly #leavers = new Map<AbortController, Promise<void>>()
  #stopping = false

  /** Resolves and rejects as `work` does. */
  async add(work: (leave: AbortController) => Promise<void>): Promise<void> {
    const leave = new AbortController()
    if (this.#stopping) leave.abort('stopping' satisfies LeaveReason)
    const done = work(leave)
    this.#leavers.set(leave, done)
    try {
      await done
    } finally {
      this.#leavers.delete(leave)
    }
  }

  /** Resolves when the last of them has ended. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const leave of this.#leavers.keys()) leave.abort('stopping' satisfies LeaveReason)
    await Promise.allSettled(this.#leavers.values())
  }
}
