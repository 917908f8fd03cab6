import { METHODS } from 'node:http'

// What a client that is inside a tunnel speaks. Taken for raw bytes, HTTP would pass nobody's eyes; taken for
// HTTP, another protocol would be refused.

export type TunnelProtocol = 'tls' | 'http' | 'raw'

/** As much as the head of a request may have; whoever sends that in one line is answered by the HTTP parser. */
const MAX_LINE_BYTES = 64 * 1024

/** What an HTTP server may take for a request line, however leniently it reads (RFC 9112, 3 and 2.2). */
const WITH_VERSION = /[\t\v\f\r ]HTTP\/?\d/i
const WITHOUT_VERSION = new RegExp(`^(?:${METHODS.join('|')})[\\t\\v\\f ]+(?:/|\\*|https?:)`, 'i')
/** HTTP/2 without TLS: nothing we could serve, and nothing an HTTP/1.1 server reads. */
const HTTP2_PREFACE = /^PRI \* HTTP\/2\.0\r$/
/** The beginning of a line that may yet become one: a word of printable bytes, and a blank after it. */
const MAY_BECOME_REQUEST = /^[\x21-\x7e]*(?:[\t\v\f ]|$)/

/** Whether bytes that may yet become a request begin with the name of a method that exists, or a part of one. */
export function beginsLikeRequest(bytes: Buffer): boolean {
  const text = bytes.toString('latin1', 0, MAX_LINE_BYTES).replace(/^[\r\n]+/, '')
  const [word = ''] = text.split(/[\t\v\f ]/, 1)
  const upper = word.toUpperCase()
  return METHODS.some((method) => (word === text ? method.startsWith(upper) : method === upper))
}

/** @returns undefined while more bytes are needed. */
export function tunnelProtocol(bytes: Buffer): TunnelProtocol | undefined {
  // RFC 8446, 5.1: a handshake record.
  if (bytes[0] === 0x16) return 'tls'
  // RFC 9112, 2.2: empty lines before a request are passed over.
  const text = bytes.toString('latin1', 0, MAX_LINE_BYTES).replace(/^[\r\n]+/, '')
  const end = text.indexOf('\n')
  const line = end === -1 ? text : text.slice(0, end)
  if (HTTP2_PREFACE.test(line)) return 'raw'
  if (WITHOUT_VERSION.test(line)) return 'http'
  if (end !== -1) return WITH_VERSION.test(line) ? 'http' : 'raw'
  if (bytes.length >= MAX_LINE_BYTES) return 'http'
  return MAY_BECOME_REQUEST.test(line) ? undefined : 'raw'
}
