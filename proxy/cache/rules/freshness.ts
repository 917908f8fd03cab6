import { headerValue, type RawHeaders } from '../../message/headers.js'
import { cacheControl } from '../entry/cache-control.js'
import { httpDate } from '../entry/http-date.js'
import type { EntryMeta } from '../entry/meta.js'
import type { AppliedRule } from './rules.js'

/** A head, and how old it was when it came. */
export type Aging = Pick<EntryMeta, 'headers' | 'storedAt' | 'age'>

/** Those of RFC 9111, 4.2.4 that keep a shared cache from serving what is stale. */
const FORBID_STALE = ['must-revalidate', 'proxy-revalidate', 's-maxage', 'no-cache']

/** Milliseconds since an entry was past its time to live; negative before. */
export function expiredForMs(aging: Aging, { ttlMs }: Pick<AppliedRule, 'ttlMs'>, nowMs: number): number {
  return ttlMs === 'upstream' ? staleForMs(aging, nowMs) : nowMs - aging.storedAt - ttlMs
}

/** Whether the sender forbids that it be served now even where nobody can be asked about it. */
export function forbidsStale(aging: Aging, nowMs: number): boolean {
  if (staleForMs(aging, nowMs) < 0) return false
  const control = cacheControl(headerValue(aging.headers, 'cache-control'))
  return FORBID_STALE.some((name) => control.has(name))
}

/** Milliseconds since it was past the time for which its sender calls it fresh (RFC 9111, 4.2); negative before. */
function staleForMs({ headers, storedAt, age }: Aging, nowMs: number): number {
  const date = httpDate(headerValue(headers, 'date')) ?? storedAt
  const initialAgeMs = Math.max(storedAt - date, age * 1000)
  return initialAgeMs + (nowMs - storedAt) - lifetimeMs(headers, date)
}

/** RFC 9111, 4.2.1, for a shared cache; 0 where nothing is said, for nothing is guessed. */
function lifetimeMs(headers: RawHeaders, dateMs: number): number {
  const control = cacheControl(headerValue(headers, 'cache-control'))
  if (control.has('no-cache')) return 0
  const seconds = control.seconds('s-maxage') ?? control.seconds('max-age')
  if (seconds !== undefined) return seconds * 1000
  return Math.max(0, (httpDate(headerValue(headers, 'expires')) ?? 0) - dateMs)
}

/** The conditions of a request that asks whether an entry still holds (RFC 9111, 4.3.1); none without validator. */
export function revalidation({ headers }: Pick<EntryMeta, 'headers'>): string[] {
  const tag = headerValue(headers, 'etag')
  const modified = headerValue(headers, 'last-modified')
  return [
    ...(tag === undefined ? [] : ['If-None-Match', tag]),
    ...(modified === undefined ? [] : ['If-Modified-Since', modified]),
  ]
}
