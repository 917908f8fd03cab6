import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { endToEnd, headerValue, pairs, without, type RawHeaders } from '../message/headers.js'

// Header fields between the forms of HTTP/1.1 and HTTP/2 (RFC 9113, 8.2).

/** Fields of HTTP/1.1 as HTTP/2 has them: lower case, nothing of the connection, `set-cookie` each by itself. */
export function toHttp2Fields(headers: RawHeaders): OutgoingHttpHeaders {
  // Without a prototype: a field may be called __proto__.
  const fields = Object.create(null) as Record<string, string | string[]>
  // Host is said by `:authority`; Transfer-Encoding and the rest are gone with the hop-by-hop ones.
  for (const [name, value] of pairs(without(endToEnd(headers), isForbidden))) {
    const lower = name.toLowerCase()
    const present = fields[lower]
    if (lower === 'set-cookie') fields[lower] = [...(Array.isArray(present) ? present : []), value]
    // RFC 9110, 5.3: the same as repeating it; Node refuses to repeat some.
    else fields[lower] = typeof present === 'string' ? `${present}${separator(lower)}${value}` : value
  }
  return fields
}

/** RFC 9113, 8.2.2; `http2-settings` belongs to an upgrade that we never make. */
function isForbidden(name: string): boolean {
  return name === 'host' || name === 'http2-settings'
}

/** RFC 9113, 8.2.3: a cookie may come in crumbs, which outside HTTP/2 are joined with "; ". */
function separator(name: string): string {
  return name === 'cookie' ? '; ' : ', '
}

/** Fields of HTTP/2 for HTTP/1.1: pseudo fields left out, the crumbs of a cookie joined. */
export function fromHttp2Fields(raw: RawHeaders): string[] {
  const fields = without(raw, (name) => name.startsWith(':') || name === 'cookie')
  const crumbs = pairs(raw).filter(([name]) => name === 'cookie')
  return crumbs.length === 0 ? fields : [...fields, 'cookie', crumbs.map(([, crumb]) => crumb).join('; ')]
}

/**
 * The raw form of a header block. Node passes it to the listeners of all events that carry one, but documents it
 * for `stream` only; where it is missing, the parsed form has all but the order.
 */
export function rawFields(parsed: IncomingHttpHeaders, raw: readonly string[] | undefined): RawHeaders {
  if (raw !== undefined) return raw
  return Object.entries(parsed).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value ?? '']).flatMap((one) => [name, one]),
  )
}

/** A trailer section without what may not be in one (RFC 9110, 6.5.1) or not in HTTP/2. */
export function toHttp2Trailers(trailers: RawHeaders): OutgoingHttpHeaders {
  return toHttp2Fields(without(trailers, (name) => name.startsWith(':') || name === 'content-length'))
}

/** Whether the sender reads trailers; the one value `te` may have in HTTP/2. */
export function takesTrailers(headers: RawHeaders): boolean {
  return /(^|,)\s*trailers\s*(;|,|$)/i.test(headerValue(headers, 'te') ?? '')
}
