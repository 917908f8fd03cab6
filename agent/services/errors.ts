import { DiscobotError } from '../../base/errors.js'
import type { ProcessEnd } from '../process/exit-code.js'

/** A service was asked to start and did not get ready. It may still be retried in the background. */
export class ServiceStartError extends DiscobotError {
  readonly code = 'SERVICE_START_FAILED'
  readonly service: string
  /** How its process ended, when one ended. */
  readonly end: ProcessEnd | undefined

  constructor(service: string, reason: string, end?: ProcessEnd) {
    super(`cannot start ${service}: ${reason}`)
    this.service = service
    this.end = end
  }
}

/** No service of that name was added. */
export class UnknownServiceError extends DiscobotError {
  readonly code = 'SERVICE_UNKNOWN'

  constructor(service: string, known: readonly string[]) {
    const list = known.length === 0 ? 'there are no services' : `there are ${known.join(', ')}`
    super(`cannot find service ${JSON.stringify(service)}: ${list}`)
  }
}

/** A service's description contradicts itself or another one. */
export class ServiceSpecError extends DiscobotError {
  readonly code = 'SERVICE_INVALID'

  constructor(service: string, reason: string) {
    super(`cannot add service ${JSON.stringify(service)}: ${reason}`)
  }
}
