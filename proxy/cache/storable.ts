import { headerValue, tokens, type RawHeaders } from '../headers.js'
import { cacheControl, type CacheControl } from './cache-control.js'
import type { CacheRequest, UpstreamResponse } from './contract.js'
import { expiredForMs, revalidation } from './freshness.js'
import type { EntryKey } from './key.js'
import type { AppliedRule } from './rules.js'
import { upstreamAge } from './stored-headers.js'

/** The digest fixes the bytes; what these headers could select is the encoding, which is refused, or nothing. */
const HARMLESS_FOR_DIGEST = new Set(['accept', 'accept-encoding', 'authorization'])
/** The one form we ask upstream for, so all requests agree on it. */
const HARMLESS = new Set(['accept-encoding'])

/**
 * Why an upstream answer may not be kept, for the log; undefined when it may. Unless the rule leaves it to upstream
 * how long answers hold, they are kept without regard to freshness: such rules name what never changes.
 *
 * @param maxSize the largest body that is kept, in bytes.
 */
export function whyNotKept(
  request: CacheRequest,
  key: EntryKey,
  { status, rawHeaders }: UpstreamResponse,
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
  const varying = tokens(headerValue(rawHeaders, 'vary'))
  const harmless = key.digest === undefined ? HARMLESS : HARMLESS_FOR_DIGEST
  if (!varying.every((name) => harmless.has(name))) return `Vary: ${varying.join(', ')}`
  const length = headerValue(rawHeaders, 'content-length')
  if (length !== undefined && contentLength(length) === undefined) return 'a Content-Length that is no number'
  if (Number(length ?? 0) > maxSize) return `larger than ${maxSize} bytes`
  if (key.digest !== undefined)
    return whyMisnamed(key.digest, headerValue(rawHeaders, 'docker-content-digest'))
  if (rule.ttlMs !== 'upstream' && control.has('no-cache')) return 'Cache-Control: no-cache'
  return whyPrivate(request, control, headerValue(rawHeaders, 'set-cookie') !== undefined)
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
  return request.header('authorization') !== undefined && !shared ? 'Authorization' : undefined
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
export function refusesCache(request: CacheRequest, key: EntryKey): boolean {
  const control = cacheControl(request.header('cache-control'))
  if (control.has('no-store')) return true
  // What a digest fixes is never stale, so asking for it afresh can bring nothing else.
  return key.digest === undefined && (control.has('no-cache') || request.header('pragma') === 'no-cache')
}

/** RFC 9111, 5.2.1.7: upstream may not be asked. */
export function onlyIfCached(request: CacheRequest): boolean {
  return cacheControl(request.header('cache-control')).has('only-if-cached')
}

/** Bytes, where `Content-Length` is one plain number (RFC 9110, 8.6). */
export function contentLength(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined
}
