import { endToEnd, headerValue, via, type RawHeaders } from './headers.js'
import type { ClientRequest } from './message.js'
import { hostHeader, type RequestTarget } from './request-target.js'

/** The client's headers as they go on: end-to-end ones, and the framing a body needs. */
/** @param name what we call ourselves, so that we know a request of ours that comes round again. */
export function requestHeaders(request: ClientRequest, hasBody: boolean, name: string): RawHeaders {
  const headers = endToEnd(request.rawHeaders)
  headers.push('Via', via(request.httpVersion, name))
  if (hasBody && request.headers['transfer-encoding'] !== undefined) {
    headers.push('Transfer-Encoding', 'chunked')
    const trailer = headerValue(request.rawHeaders, 'trailer')
    if (trailer !== undefined) headers.push('Trailer', trailer)
  }
  // RFC 9110, 8.6: Node would otherwise give an empty POST the framing of a chunked one.
  const bodyExpected = /^(POST|PUT|PATCH)$/.test(request.method ?? '')
  if (!hasBody && bodyExpected && headerValue(headers, 'content-length') === undefined) {
    headers.push('Content-Length', '0')
  }
  return headers
}

/** RFC 9112, 6: a request has a body when it says how long it is, or that it is chunked. */
export function bodyFollows({ headers }: ClientRequest): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) !== 0)
}

/** `Host` in its own place, naming what was decided on. */
export function withHost(headers: RawHeaders, to: RequestTarget): RawHeaders {
  const result = [...headers]
  const at = result.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'host')
  const host = to.writtenHost ?? hostHeader(to)
  if (at === -1) result.unshift('Host', host)
  else result[at + 1] = host
  return result
}
