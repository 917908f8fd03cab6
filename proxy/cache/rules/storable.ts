import { headerValue, tokens, type RawHeaders } from '../../message/headers.js'
import { cacheControl, type CacheControl } from '../entry/cache-control.js'
import type { CacheRequest, UpstreamResponse } from '../contract/contract.js'
import { whyUnexpectedType } from './expectation.js'
import { expiredForMs, revalidation } from './freshness.js'
import type { EntryKey } from './key.js'
import type { AppliedRule } from './rules.js'
import { isTelling } from './shared-fields.js'
import { upstreamAge } from '../entry/stored-headers.js'

/** All that share an entry agree on these: the one form we ask upstream for, and what the entry notes. */
const AGREED = new Set(['accept', 'accept-encoding'])

/**
 * Why an upstream answer may not be kept, for the log; undefined when it may. Unless the rule leaves it to upstream
 * how long answers hold, they are kept without regard to freshness: such rules name what never changes.
 *
 * @param maxSize the largest body that is kept, in bytes.
 */
export function whyNotKept(
  request: CacheRequest,
  key: EntryKey,
  { status, rawHeaders, untilClose }: UpstreamResponse,
  rule: AppliedRule,
  maxSize: number,
): string | undefined {
  // Also a 206 to no range: it is a part, whatever it says of the whole.
  if (status !== 200) return `status ${status}`
  const control = cacheControl(headerValue(rawHeaders, 'cache-control'))
  if (control.has('no-store')) return 'Cache-Control: no-store'
  const encoding = tokens(headerValue(rawHeaders, 'content-encoding')).filter((name) => name !== 'identity')
  if (encoding.length > 0) return `Content-Encoding: ${encoding.join(', ')}`
  if (headerValue(rawHeaders, 'transfer-encoding') !== undefined) return 'a Transfer-Encoding we do not undo'
  const length = headerValue(rawHeaders, 'content-length')
  if (length !== undefined && contentLength(length) === undefined) return 'a Content-Length that is no number'
  if (Number(length ?? 0) > maxSize) return `larger than ${maxSize} bytes`
  if (key.digest !== undefined)
    return whyMisnamed(key.digest, headerValue(rawHeaders, 'docker-content-digest'))
  const varying = tokens(headerValue(rawHeaders, 'vary')).filter((name) => tells(name, request, rule))
  if (varying.length > 0) return `Vary: ${varying.join(', ')}`
  // RFC 9112, 8: it may be a part. That TLS was closed in good order would tell, and Node does not say.
  if (untilClose === true) return 'a body that ends with its connection'
  const unexpected = whyUnexpectedType(rule.expect, rawHeaders)
  if (unexpected !== undefined) return unexpected
  if (rule.ttlMs !== 'upstream' && control.has('no-cache')) return 'Cache-Control: no-cache'
  return whyPrivate(request, control, headerValue(rawHeaders, 'set-cookie') !== undefined)
}

/** Whether two requests that share an entry may differ in a field that `Vary` names. */
function tells(name: string, request: CacheRequest, rule: AppliedRule): boolean {
  if (AGREED.has(name)) return false
  if (rule.passHeaders.has(name)) return true
  // What never changes and was given to somebody without credentials is everybody's.
  if (name === 'authorization' && rule.ttlMs !== 'upstream') return request.header(name) !== undefined
  // Requests that have another field of this kind are passed on.
  return name === '*' || !isTelling(name)
}

/** Why keeping an answer to a rule that follows upstream would be of no use. */
export function whyUseless(headers: RawHeaders, receivedAtMs: number): string | undefined {
  const aging = { headers, storedAt: receivedAtMs, age: upstreamAge(headers) }
  if (expiredForMs(aging, { ttlMs: 'upstream' }, receivedAtMs) < 0) return undefined
  return revalidation(aging).length > 0 ? undefined : 'stale at once, and without a validator'
}

/** RFC 9111, 3 and 3.5. Where a digest fixes the bytes, who asked for them makes no difference. */
function whyPrivate(request: CacheRequest, control: CacheControl, setsCookie: boolean): string | undefined {
  if (control.has('private')) return 'Cache-Control: private'
  // Those who mean their cookie for everybody say so; it is not stored even then.
  if (setsCookie && !control.has('public')) return 'Set-Cookie'
  const shared = control.has('public') || control.has('s-maxage') || control.has('must-revalidate')
  if (shared) return undefined
  if (request.header('cookie') !== undefined) return 'Cookie'
  return request.header('authorization') === undefined ? undefined : 'Authorization'
}

function whyMisnamed(
  { algorithm, hex }: NonNullable<EntryKey['digest']>,
  named: string | undefined,
): string | undefined {
  // A name by another algorithm cannot be compared; the body still is, with the one of the URL.
  if (named === undefined || !named.startsWith(`${algorithm}:`)) return undefined
  return named === `${algorithm}:${hex}` ? undefined : 'Docker-Content-Digest is of something else'
}

/** Whether the request itself wants nothing to do with a cache. */
export function refusesCache(request: CacheRequest): boolean {
  return cacheControl(request.header('cache-control')).has('no-store')
}

/** RFC 9111, 5.2.1.4 and 5.4: upstream is to be asked. */
export function wantsFresh(request: CacheRequest): boolean {
  return (
    cacheControl(request.header('cache-control')).has('no-cache') || request.header('pragma') === 'no-cache'
  )
}

/** RFC 9111, 5.2.1.7: upstream may not be asked. */
export function onlyIfCached(request: CacheRequest): boolean {
  return cacheControl(request.header('cache-control')).has('only-if-cached')
}

/** Bytes, where `Content-Length` is one plain number (RFC 9110, 8.6). */
export function contentLength(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined
}
