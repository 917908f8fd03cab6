import { DiscobotError } from '../config/errors.js'
import { headerValue } from './headers.js'
import type { ClientRequest } from './message.js'

/** Where a request ends, or what it means, is not certain. Answered with 400, 501 or 505. */
export class FramingError extends DiscobotError {
  override readonly code = 'FRAMING_REFUSED'
  readonly status: 400 | 501 | 505

  constructor(status: 400 | 501 | 505, message: string) {
    super(message)
    this.status = status
  }
}

/**
 * Lets through the codings that every server between here and the origin reads alike. The parser has already
 * refused a request whose length and coding contradict each other.
 *
 * @throws FramingError
 */
export function assertFraming({ rawHeaders, httpVersion, pseudo }: ClientRequest): void {
  // What comes as HTTP/2 is framed by its own frames; the HTTP/1.1 parser lets through any number.
  if (pseudo !== undefined) return
  if (!/^1\.[01]$/.test(httpVersion)) {
    throw new FramingError(505, `cannot read the request: HTTP/${httpVersion} is not served`)
  }
  const coding = headerValue(rawHeaders, 'transfer-encoding')
  if (coding === undefined) return
  // RFC 9112, 6.1: such a client has taken the field from somebody, and does not know what it says.
  if (httpVersion === '1.0') {
    throw new FramingError(400, 'cannot read the request: HTTP/1.0 has no Transfer-Encoding')
  }
  // The same section. We take chunks off; any other coding would go on without its name.
  if (coding.toLowerCase() !== 'chunked') {
    const named = JSON.stringify(coding.slice(0, 100))
    throw new FramingError(501, `cannot read the request: its Transfer-Encoding is ${named}, not "chunked"`)
  }
}
