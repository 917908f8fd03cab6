import { DiscobotError } from '../errors.js'

/** What was asked for can be read neither as an image nor as a URL. */
export class WarmReferenceError extends DiscobotError {
  override readonly code = 'WARM_REFERENCE_INVALID'
}

/** A registry or server did not give what was asked for, or gave something else. */
export class WarmFetchError extends DiscobotError {
  override readonly code = 'WARM_FETCH_FAILED'
}
