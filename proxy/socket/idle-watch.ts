import { DiscobotError } from '../../base/errors.js'

/** Looks within the limit: what is idle is found at most a quarter late, and no byte touches a timer. */
const LOOKS = 4

/** Nothing came or went for `timeouts.idle`. Answered with 504 or 408, or by a reset once an answer has begun. */
export class IdleError extends DiscobotError {
  override readonly code = 'IDLE'
  /** Who was waited for. */
  readonly waitedFor: 'client' | 'upstream'

  constructor(waitedFor: 'client' | 'upstream', limitMs: number) {
    super(`cannot go on: nothing came or went for ${seconds(limitMs)} (timeouts.idle)`)
    this.waitedFor = waitedFor
  }
}

interface IdleWatchOptions {
  /** Milliseconds. */
  readonly limitMs: number
  /** Anything that differs once something has come or gone. */
  readonly progress: () => number
  /** Called once. */
  readonly onIdle: () => void
}

/** Calls `onIdle` when `progress` has stood still for the limit. Returns what ends the watch. */
export function watchIdle({ limitMs, progress, onIdle }: IdleWatchOptions): () => void {
  let last = progress()
  let still = 0
  const timer = setInterval(() => {
    const now = progress()
    still = now === last ? still + 1 : 0
    last = now
    if (still < LOOKS) return
    clearInterval(timer)
    onIdle()
  }, limitMs / LOOKS)
  // What is watched keeps the process, where anything does.
  timer.unref()
  return () => clearInterval(timer)
}

/** As people say a time-out: `60 s`, `0.5 s`. */
export function seconds(ms: number): string {
  return `${ms / 1000} s`
}
