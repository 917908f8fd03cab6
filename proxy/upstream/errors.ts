import { DiscobotError } from '../../base/errors.js'

/** The upstream proxy does not take us where we want to go. Answered with 502 or 504. */
export class UpstreamProxyError extends DiscobotError {
  override readonly code = 'UPSTREAM_PROXY_FAILED'

  constructor(
    message: string,
    readonly status: 502 | 504,
    /** RFC 9209, 2.3. */
    readonly type: string,
    cause?: unknown,
  ) {
    super(message, { cause })
  }
}

/** The request has come round to us again, or would. Answered with 508. */
export class ProxyLoopError extends DiscobotError {
  override readonly code = 'PROXY_LOOP'
}
