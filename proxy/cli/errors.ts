import { DiscobotError } from '../../base/errors.js'

/** The proxy's API does not answer, or says no. */
export class WarmApiError extends DiscobotError {
  override readonly code = 'WARM_API_FAILED'
}
