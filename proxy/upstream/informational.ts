import { DiscobotError } from '../../base/errors.js'

/** Upstream says 1xx again and again in place of an answer. Answered with 502. */
export class InformationalError extends DiscobotError {
  override readonly code = 'TOO_MANY_INFORMATIONAL'
}

/**
 * Before one final answer. RFC 9110, 15.2 sets no limit; a server that says every 20 s that it is still at work may
 * do so for five hours.
 */
export const MAX_INFORMATIONAL = 1_000

/** Counts 1xx answers. Returns a function that says with an error when one is too many. */
export function informationalLimit(): () => InformationalError | undefined {
  let count = 0
  return () => {
    count += 1
    if (count <= MAX_INFORMATIONAL) return undefined
    return new InformationalError(
      `cannot wait for the answer: more than ${MAX_INFORMATIONAL} informational (1xx) answers came before it`,
    )
  }
}
