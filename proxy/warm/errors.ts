import { DiscobotError } from '../../config/errors.js'

/** What was asked for can be read neither as an image nor as a URL. */
export class WarmReferenceError extends DiscobotError {
  override readonly code = 'WARM_REFERENCE_INVALID'
}

/** A registry or server did not give what was asked for, or gave something else. */
export class WarmFetchError extends DiscobotError {
  override readonly code = 'WARM_FETCH_FAILED'
}

/** The command line asks for nothing that can be done. */
export class WarmUsageError extends DiscobotError {
  override readonly code = 'WARM_USAGE'
}

/** The proxy's API does not answer, or says no. */
export class WarmApiError extends DiscobotError {
  override readonly code = 'WARM_API_FAILED'
}
