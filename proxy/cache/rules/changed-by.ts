import { headerValue } from '../../message/headers.js'
import { isSafe } from '../../message/repeatable.js'
import type { CacheRequest, UpstreamResponse } from '../contract/contract.js'

/** Where an answer may name something else that has changed with what was asked for. */
const NAMING = ['location', 'content-location']

/**
 * What stored answers no longer stand for after an exchange (RFC 9111, 4.4): what was asked for, and what the
 * answer names on the same host. Nothing on another one: a host would decide what is stored of its neighbours.
 */
export function changedBy(
  request: CacheRequest,
  { status, rawHeaders }: Pick<UpstreamResponse, 'status' | 'rawHeaders'>,
): CacheRequest[] {
  if (isSafe(request.method) || status < 200 || status >= 400) return []
  const changed = [request]
  const url = `${request.scheme}://${request.authority}${request.path}${request.query}`
  // A name that URLs have no room for (an `xn--` that is no punycode) can still be somebody's host.
  if (!URL.canParse(url)) return changed
  const asked = new URL(url)
  for (const header of NAMING) {
    const value = headerValue(rawHeaders, header)
    const named = value !== undefined && URL.canParse(value, asked.href) ? new URL(value, asked) : undefined
    if (named?.origin !== asked.origin) continue
    changed.push({ ...request, path: named.pathname, query: named.search })
  }
  return changed
}
