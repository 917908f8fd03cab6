/** A token of RFC 9110 section 5.6.2. */
const HEADER_NAME_PATTERN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/**
 * What a rule may not touch: the first six and `Proxy-*` belong to one hop (RFC 9110 section 7.6.1), the
 * others say where a message ends or whom it is for, and changing them is request smuggling.
 */
const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'content-length',
  'expect',
  'host',
])

/** Why `name` cannot be the name of any header, as the end of a sentence about it. */
export function headerNameComplaint(name: string): string | undefined {
  return HEADER_NAME_PATTERN.test(name)
    ? undefined
    : "is not a header name; write letters, digits and any of !#$%&'*+-.^_`|~"
}

/** Why a rule may not set or append the header `name`. */
export function ruleHeaderComplaint(name: string): string | undefined {
  if (!RESERVED_HEADERS.has(name.toLowerCase())) return headerNameComplaint(name)
  return 'may not be set: it belongs to the connection, not to the request'
}

/** Why `value` cannot be sent as a header's value (RFC 9110 section 5.5). */
export function headerValueComplaint(value: string): string | undefined {
  if (/[\r\n\0]/.test(value)) return 'holds a line break or a NUL; write it on one line'
  // node:http throws on these, in the middle of a request.
  if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) return 'holds a character that HTTP headers cannot carry'
  if (value.trim() !== value) return 'begins or ends with blanks, which HTTP drops; remove them'
  return undefined
}
