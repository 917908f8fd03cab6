import { accessOf, type Access } from '../rules/access.js'
import type { CacheRequest, FetchUpstream } from '../contract/contract.js'
import { NotStoredError } from '../contract/errors.js'
import { expiredForMs, type Aging } from '../rules/freshness.js'
import { entryKey, type EntryKey } from '../rules/key.js'
import { asksFromStart } from '../rules/ranges.js'
import type { AppliedRule, Covering } from '../rules/rules.js'
import type { CacheSettings } from './settings.js'
import { acceptOf, meaningOf, sharedFields } from '../rules/shared-fields.js'
import { onlyIfCached, refusesCache, wantsFresh } from '../rules/storable.js'

/** A request that a rule covers, and what it comes to. */
export interface Ask {
  readonly request: CacheRequest
  readonly settings: CacheSettings
  readonly rule: AppliedRule
  readonly key: EntryKey
  readonly access: Access
  /** Upstream may not be asked. */
  readonly offline: boolean
  /** It wants nothing to do with a store, or is not for one to answer. */
  readonly aside: boolean
  /** It wants upstream asked whether what is stored still holds. */
  readonly reload: boolean
  /** What it asks to be given; empty for anything, and where a digest fixes that. */
  readonly accept: string
  /** Upstream is asked in fewer words than the client's, which might be why it refuses. */
  readonly reworded: boolean
}

export function askOf(request: CacheRequest, covering: Covering, settings: CacheSettings): Ask {
  const { rule } = covering
  const key = entryKey(request, covering)
  const offline = settings.offline || onlyIfCached(request)
  const meaning = meaningOf(request.fields, rule.passHeaders)
  return {
    request,
    settings,
    rule,
    key,
    access: accessOf(request, key),
    offline,
    aside:
      refusesCache(request) ||
      hasStateCondition(request) ||
      meaning === 'body' ||
      (meaning === 'telling' && key.digest === undefined) ||
      (asksForExistence(request, key) && !offline),
    reload: key.digest === undefined && !rule.servesNoCache && wantsFresh(request),
    accept: key.digest === undefined ? acceptOf(request.header('accept'), rule.ttlMs === 'upstream') : '',
    reworded: meaning === 'telling',
  }
}

/**
 * Who pushes asks a registry by HEAD which blobs and manifests it has, and skips those. Even one that had them may have
 * removed them since, so its answer is never ours to give.
 */
function asksForExistence({ method }: CacheRequest, { repository }: EntryKey): boolean {
  return method === 'HEAD' && repository !== undefined
}

/** Asks upstream in the words of a request that are the same for all who share its entry. */
export function inSharedWords({ request, key, rule, accept }: Ask, fetch: FetchUpstream): FetchUpstream {
  const shared = sharedFields(request.fields, key.digest === undefined ? accept : undefined, rule.passHeaders)
  return (signal, { headers = [], ...variation } = {}) =>
    fetch(signal, { ...variation, headers: [...shared, ...headers] })
}

/** Milliseconds since what is stored for it expired; negative while it may be served. */
export function askExpiredForMs({ key, rule, reload }: Ask, aging: Aging, nowMs: number): number {
  if (reload) return 0
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
