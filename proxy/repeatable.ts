import type { Readable } from 'node:stream'

/** RFC 9110, 9.2.2: to do these twice is to do them once. Of a method that is not known the opposite is assumed. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

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
