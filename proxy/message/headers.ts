/** `[name, value, name, value, …]` as Node gives and takes it: case, order and repeats are kept. */
export type RawHeaders = readonly string[]

/** RFC 9110, 7.6.1, with the older names that are still sent. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** The values of `name` (lower case), in their order. */
export function headerValues(headers: RawHeaders, name: string): string[] {
  const found: string[] = []
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const candidate = headers[at] ?? ''
    // The length first: this is asked for a dozen names a request.
    if (candidate.length === name.length && candidate.toLowerCase() === name)
      found.push(headers[at + 1] ?? '')
  }
  return found
}

/** All values of `name` (lower case) joined with ", ", or undefined. */
export function headerValue(headers: RawHeaders, name: string): string | undefined {
  const values = headerValues(headers, name)
  return values.length === 0 ? undefined : values.join(', ')
}

/**
 * What `Connection` may not take away: without its length a body would be sent on as a request of its own.
 * RFC 9110, 7.6.1 forbids to name such fields there.
 */
const NEVER_HOP_BY_HOP = ['host', 'content-length']

/** The headers meant for the other end: without hop-by-hop ones and those that `Connection` names. */
export function endToEnd(headers: RawHeaders): string[] {
  const named = new Set(tokens(headerValue(headers, 'connection')))
  for (const name of NEVER_HOP_BY_HOP) named.delete(name)
  return without(headers, (name) => HOP_BY_HOP.has(name) || named.has(name))
}

/** The headers whose lower-case name `drops` does not take. */
export function without(headers: RawHeaders, drops: (name: string) => boolean): string[] {
  const kept: string[] = []
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? ''
    if (!drops(name.toLowerCase())) kept.push(name, headers[at + 1] ?? '')
  }
  return kept
}

/** The same headers as Node takes them for trailers. */
export function pairs(raw: RawHeaders): [string, string][] {
  const result: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) result.push([raw[at] ?? '', raw[at + 1] ?? ''])
  return result
}

/** The lower-case members of a comma-separated header. */
export function tokens(value: string | undefined): string[] {
  if (value === undefined) return []
  return value
    .split(',')
    .map((token) => token.trim().toLowerCase())
    .filter((token) => token !== '')
}

/** RFC 9110, 7.6.3: by which version of HTTP a message came to us. */
export function via(httpVersion = '1.1', name = 'discobot'): string {
  return `${httpVersion} ${name}`
}
