import type { LeaveReason } from './route.js'

/** The requests being answered, each with what makes it stop. */
export class UnderWay {
  readonly #leavers = new Map<AbortController, Promise<void>>()
  #stopping = false

  /** @param work must not reject. */
  add(work: (leave: AbortController) => Promise<void>): void {
    const leave = new AbortController()
    if (this.#stopping) leave.abort('stopping' satisfies LeaveReason)
    const done = work(leave).finally(() => this.#leavers.delete(leave))
    this.#leavers.set(leave, done)
  }

  /** Resolves when the last of them has ended. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const leave of this.#leavers.keys()) leave.abort('stopping' satisfies LeaveReason)
    await Promise.all(this.#leavers.values())
  }
}
