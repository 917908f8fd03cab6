import { DiscobotError } from '../../base/errors.js'

/** A limit of `limits` is reached. Answered with 503 and the time after which it may be tried again. */
export class OverloadError extends DiscobotError {
  override readonly code = 'OVERLOADED'
  /** Whole seconds, as `Retry-After` has them. */
  readonly retryAfterS: number

  /** @param reason the end of the sentence "cannot take this on: …". */
  constructor(reason: string, retryAfterS: number) {
    super(`cannot take this on: ${reason}`)
    this.retryAfterS = retryAfterS
  }
}
