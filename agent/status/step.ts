/**
 * One named part of the boot. A step starts as soon as all it needs has ended; steps that need nothing of
 * each other run side by side.
 */
export interface BootStep {
  readonly name: string
  /** Names of steps that must have ended (well or, for those that may degrade, badly) before this one. */
  readonly needs: readonly string[]
  readonly timeoutMs: number
  /**
   * `fatal` ends the boot; `degrade` goes on, and `status` and the log say what is missing; `ignore` goes on too, and
   * it is a line in the timeline and the log only, since nobody asked for what is missing.
   */
  readonly onFailure: 'fatal' | 'degrade' | 'ignore'
  /** What to do about a time-out, and about an error whose message does not say it itself. */
  readonly remedy: string
  /** Resolves with a short remark for the timeline ("cloned main at 1a2b3c4"), why there was nothing to do, or nothing. */
  run(signal: AbortSignal): Promise<string | NotDone | void>
}

/** A step was not needed, or ruled out: it is shown with the reason, and not as done. */
export interface NotDone {
  readonly notDone: string
}

export type StepState = 'waiting' | 'running' | 'done' | 'degraded' | 'ignored' | 'failed' | 'skipped'

/** A step as the timeline and `status` show it. */
export interface StepStatus {
  readonly name: string
  readonly state: StepState
  /** Milliseconds from the start of the boot to the start of the step. */
  readonly startedMs?: number
  readonly tookMs?: number
  /** The step's remark, or why it failed and what to do about it. */
  readonly note?: string
}
