import type { Readable } from 'node:stream'

/** RFC 9110, 9.2.1: these change nothing. A method that is not known is assumed to change something. */
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
/** RFC 9110, 9.2.2: to do these twice is to do them once. */
const IDEMPOTENT: ReadonlySet<string> = new Set([...SAFE, 'PUT', 'DELETE'])

export function isSafe(method: string): boolean {
  return SAFE.has(method)
}

/** Whether a request may be sent again though upstream may have acted on it. A body is gone once it is sent. */
export function isRepeatable({
  method,
  body,
}: {
  readonly method: string
  readonly body?: Readable
}): boolean {
  return body === undefined && IDEMPOTENT.has(method)
}
