import { DiscobotError } from '../../base/errors.js'

/** The steps handed in do not make a graph: a mistake in the program, found before anything runs. */
export class BootGraphError extends DiscobotError {
  readonly code = 'BOOT_GRAPH_INVALID'

  constructor(reason: string) {
    super(`cannot plan the boot: ${reason}`)
  }
}

/** A step that nothing can do without failed, and the boot ended with it. */
export class BootError extends DiscobotError {
  readonly code = 'BOOT_FAILED'
  readonly step: string

  constructor(step: string, reason: string, cause: unknown) {
    super(`cannot boot: step ${step}: ${reason}`, { cause })
    this.step = step
  }
}

/** Somebody asked for a stop before the boot had ended. */
export class BootInterruptedError extends DiscobotError {
  readonly code = 'BOOT_INTERRUPTED'

  constructor() {
    super('cannot boot: a stop was asked for')
  }
}
