import { headerValue, without, type RawHeaders } from '../headers.js'
import type { EntryMeta } from './meta.js'
import type { AppliedRule } from './rules.js'
import { endToEndStored, upstreamAge } from './stored-headers.js'

/** Milliseconds since an entry was past its time to live; negative before. */
export function expiredForMs({ storedAt }: EntryMeta, { ttlMs }: AppliedRule, nowMs: number): number {
  return nowMs - storedAt - ttlMs
}

/** The conditions of a request that asks whether an entry still holds (RFC 9111, 4.3.1); none without validator. */
export function revalidation({ headers }: EntryMeta): string[] {
  const tag = headerValue(headers, 'etag')
  const modified = headerValue(headers, 'last-modified')
  return [
    ...(tag === undefined ? [] : ['If-None-Match', tag]),
    ...(modified === undefined ? [] : ['If-Modified-Since', modified]),
  ]
}

/** The entry after a 304 (RFC 9111, 4.3.4): what that says of the head replaces what was stored. */
export function refreshed(meta: EntryMeta, answer: RawHeaders, nowMs: number): EntryMeta {
  const news = endToEndStored(answer)
  const named = new Set(news.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()))
  const kept = without(meta.headers, (name) => named.has(name))
  return { ...meta, headers: [...kept, ...news], storedAt: nowMs, age: upstreamAge(answer) }
}
