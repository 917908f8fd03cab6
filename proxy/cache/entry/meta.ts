import { isContentKey } from './content-key.js'

/**
 * What one place said with a body. A digest proves bytes and nothing else: neither the headers that another host sent
 * with them, nor that this host has them, nor who may see them.
 */
export interface Saying {
  /** See `placeOf`; empty for a body whose key is its URL, so that there is one place only. */
  readonly place: string
  /** `[name, value, …]`, those that may be replayed; no framing. */
  readonly headers: readonly string[]
  /** When its head came: milliseconds since 1970. */
  readonly storedAt: number
  /** Seconds the response had already spent in caches before us (RFC 9111, 4.2.3). */
  readonly age: number
  /** The scope of the credentials that it took to fetch; empty where it took none. */
  readonly access: string
}

/** The rule of whatever one of the plain `patterns` finds. */
export const PATTERNS_RULE = 'patterns'

/** The place of headers of which nobody knows any more whose they are. No place has that name. */
export const NOWHERE = '?'

/** What an entry is; its body is the file beside it. What was said with the body is that of one place. */
export interface EntryMeta extends Saying {
  readonly key: string
  readonly status: number
  readonly reason: string
  /** `sha256:<hex>` or `sha512:<hex>` of the body, whether or not the URL promised it. */
  readonly digest: string
  /** Bytes of the body. */
  readonly size: number
  /** Which file the body is and when that was last written to, see `store.ts`; absent: it was not noted. */
  readonly bodyMark?: string
  /** The directory's epoch in which the body was last known to be right; see `lock.ts`. */
  readonly epoch: string
  /** Name of the rule that made it. */
  readonly rule: string
  /** The `Accept` that it was asked with; empty where that took anything. */
  readonly accept: string
  /** What other places have said with the same bytes; only of a body whose key is its digest. */
  readonly others: readonly Saying[]
}

/** Entries of another version are dropped, but for those below: fetching again is safer than guessing. */
const VERSION = 2
/**
 * Its entries did not say whose headers they had, nor which words and rules they were asked by. A body that its own
 * key proves is as good as ever; nobody said anything with it.
 */
const WITHOUT_PLACES = 1

/** Response heads are at most 64 KiB, and few places are noted; anything larger beside a body is not ours. */
export const MAX_META_BYTES = 256 * 1024

export function serializeMeta(meta: EntryMeta): string {
  return `${JSON.stringify({ version: VERSION, ...meta })}\n`
}

/** Undefined for what is not a meta of this version, nor one that can be read as such. */
export function parseMeta(text: string): EntryMeta | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { version, ...meta } = value as Record<string, unknown>
  const whole =
    version === WITHOUT_PLACES
      ? { rule: PATTERNS_RULE, access: '', ...meta, place: NOWHERE, accept: '', others: [] }
      : meta
  if (!isMeta(whole)) return undefined
  if (version === WITHOUT_PLACES) return isContentKey(whole.key) ? whole : undefined
  return version === VERSION ? whole : undefined
}

/** Whether it is of an entry that an earlier version made and this one does not take over. */
export function isOutdated(text: string): boolean {
  try {
    const { version, key } = JSON.parse(text) as { readonly version?: unknown; readonly key?: unknown }
    return version === WITHOUT_PLACES && typeof key === 'string' && !isContentKey(key)
  } catch {
    return false
  }
}

function isMeta(value: object): value is EntryMeta {
  const { key, status, reason, digest, size, bodyMark, epoch, rule, accept, others } = value as Record<
    keyof EntryMeta,
    unknown
  >
  return (
    isSaying(value) &&
    typeof key === 'string' &&
    status === 200 &&
    typeof reason === 'string' &&
    typeof digest === 'string' &&
    /^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$/.test(digest) &&
    isCount(size) &&
    (bodyMark === undefined || typeof bodyMark === 'string') &&
    typeof epoch === 'string' &&
    typeof rule === 'string' &&
    typeof accept === 'string' &&
    Array.isArray(others) &&
    others.every((other: unknown) => typeof other === 'object' && other !== null && isSaying(other))
  )
}

function isSaying(value: object): value is Saying {
  const { place, headers, storedAt, age, access } = value as Record<keyof Saying, unknown>
  return (
    typeof place === 'string' &&
    isHeaderList(headers) &&
    isCount(storedAt) &&
    // Date.toISOString throws beyond this (ECMA-262, time values).
    storedAt <= 8.64e15 &&
    isCount(age) &&
    typeof access === 'string'
  )
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function isHeaderList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length % 2 === 0 && value.every((item) => typeof item === 'string')
}
