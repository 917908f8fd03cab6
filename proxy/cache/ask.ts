import { accessOf, type Access } from './access.js'
import type { CacheRequest } from './contract.js'
import { NotStoredError } from './errors.js'
import { expiredForMs, type Aging } from './freshness.js'
import { entryKey, type EntryKey } from './key.js'
import { asksFromStart } from './ranges.js'
import type { AppliedRule, Covering } from './rules.js'
import type { CacheSettings } from './settings.js'
import { onlyIfCached, refusesCache } from './storable.js'

/** A request that a rule covers, and what it comes to. */
export interface Ask {
  readonly request: CacheRequest
  readonly settings: CacheSettings
  readonly rule: AppliedRule
  readonly key: EntryKey
  readonly access: Access
  /** Upstream may not be asked. */
  readonly offline: boolean
  /** It wants nothing to do with a store. */
  readonly aside: boolean
}

export function askOf(request: CacheRequest, covering: Covering, settings: CacheSettings): Ask {
  const key = entryKey(request, covering)
  return {
    request,
    settings,
    rule: covering.rule,
    key,
    access: accessOf(request, key),
    offline: settings.offline || onlyIfCached(request),
    aside: refusesCache(request, key) || hasStateCondition(request),
  }
}

/** Milliseconds since what is stored for it expired; negative while it may be served. */
export function askExpiredForMs({ key, rule }: Ask, aging: Aging, nowMs: number): number {
  // Of bytes that a digest fixes, upstream can have no other.
  if (key.digest !== undefined && rule.ttlMs === 'upstream') return -Infinity
  return expiredForMs(aging, rule, nowMs)
}

/** Conditions on the state of a resource are upstream's to judge (RFC 9110, 13.1.1 and 13.1.4). */
function hasStateCondition(request: CacheRequest): boolean {
  return request.header('if-match') !== undefined || request.header('if-unmodified-since') !== undefined
}

/** Whether the answer is everything there is, so that a fill can give it. */
export function wantsWhole(request: CacheRequest): boolean {
  if (request.method !== 'GET') return false
  if (request.header('if-none-match') !== undefined) return false
  if (request.header('if-modified-since') !== undefined) return false
  const range = request.header('range')
  return range === undefined || (asksFromStart(range) && request.header('if-range') === undefined)
}

/** What to say where upstream may not be asked. */
export function notStored(
  { scheme, authority, path }: CacheRequest,
  { offline }: CacheSettings,
): NotStoredError {
  const reason = offline ? 'cache.offline keeps upstream from being asked' : 'only-if-cached was asked for'
  return new NotStoredError(`${scheme}://${authority}${path}`, reason)
}
