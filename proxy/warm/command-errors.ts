import { DiscobotError } from '../../config/errors.js'

/** The command line asks for nothing that can be done. */
export class WarmUsageError extends DiscobotError {
  override readonly code = 'WARM_USAGE'
}

/** The proxy's API does not answer, or says no. */
export class WarmApiError extends DiscobotError {
  override readonly code = 'WARM_API_FAILED'
}
