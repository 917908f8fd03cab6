import { DiscobotError } from '../../base/errors.js'
import { headerValue, headerValues, type RawHeaders } from './headers.js'
import type { ClientRequest } from './message.js'

/** Where a request ends, or what it means, is not certain. Answered with 400, 431, 501 or 505. */
export class FramingError extends DiscobotError {
  override readonly code = 'FRAMING_REFUSED'
  readonly status: 400 | 431 | 501 | 505

  constructor(status: 400 | 431 | 501 | 505, message: string) {
    super(message)
    this.status = status
  }
}

/** More fields than any client sends; Node's parser would leave out what is beyond its own limit. */
export const MAX_FIELDS = 1_000

/**
 * Lets through the codings that every server between here and the origin reads alike. The parser has already
 * refused a request whose length and coding contradict each other.
 *
 * @throws FramingError
 */
export function assertFraming({ method, headers, rawHeaders, httpVersion, pseudo }: ClientRequest): void {
  // What comes as HTTP/2 is framed by its own frames; the HTTP/1.1 parser lets through any number.
  if (pseudo !== undefined) return
  if (!/^1\.[01]$/.test(httpVersion)) {
    throw new FramingError(505, `cannot read the request: HTTP/${httpVersion} is not served`)
  }
  // RFC 9112, 3.2. CONNECT has it in its target, and many who send that leave Host out.
  if (httpVersion === '1.1' && headers['host'] === undefined && method !== 'CONNECT') {
    throw new FramingError(400, 'cannot read the request: it has no Host header')
  }
  if (rawHeaders.length / 2 > MAX_FIELDS) {
    throw new FramingError(431, `cannot read the request: it has more than ${MAX_FIELDS} header fields`)
  }
  const coding = headerValue(rawHeaders, 'transfer-encoding')
  if (coding === undefined) return
  // RFC 9112, 6.1: such a client has taken the field from somebody, and does not know what it says.
  if (httpVersion === '1.0') {
    throw new FramingError(400, 'cannot read the request: HTTP/1.0 has no Transfer-Encoding')
  }
  // It says nothing of where the body ends. Node refuses it by itself from 24 on.
  if (headerValues(rawHeaders, 'transfer-encoding').includes('')) {
    throw new FramingError(400, 'cannot read the request: its Transfer-Encoding is empty')
  }
  // The same section. We take chunks off; any other coding would go on without its name.
  if (coding.toLowerCase() !== 'chunked') {
    const named = JSON.stringify(coding.slice(0, 100))
    throw new FramingError(501, `cannot read the request: its Transfer-Encoding is ${named}, not "chunked"`)
  }
}

/** Node drops what is beyond its limit, one more than ours, and a part of them must not pass for all. */
export function tooManyTrailers(): FramingError {
  return new FramingError(431, `cannot read the request: it has more than ${MAX_FIELDS} trailer fields`)
}

/** The same for what upstream says: its body would go on without the name of its coding. @throws Error */
export function assertAnswerFraming(rawHeaders: RawHeaders): void {
  const coding = headerValue(rawHeaders, 'transfer-encoding')
  if (coding === undefined || coding.toLowerCase() === 'chunked') return
  throw Object.assign(new Error('unknown Transfer-Encoding'), { code: 'HPE_INVALID_TRANSFER_ENCODING' })
}
