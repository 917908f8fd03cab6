import { PATTERNS_RULE } from './rules.js'

/** What an entry is; its body is the file beside it. */
export interface EntryMeta {
  readonly key: string
  readonly status: number
  readonly reason: string
  /** `[name, value, …]`, those that may be replayed; no framing. */
  readonly headers: readonly string[]
  /** `sha256:<hex>` or `sha512:<hex>` of the body, whether or not the URL promised it. */
  readonly digest: string
  /** Bytes of the body. */
  readonly size: number
  /** When its head came: milliseconds since 1970. */
  readonly storedAt: number
  /** Seconds the response had already spent in caches before us (RFC 9111, 4.2.3). */
  readonly age: number
  /** Which file the body is and when that was last written to, see `store.ts`; absent: it was not noted. */
  readonly bodyMark?: string
  /** The directory's epoch in which the body was last known to be right; see `lock.ts`. */
  readonly epoch: string
  /** Name of the rule that made it. */
  readonly rule: string
  /** The scope of the credentials that it took to fetch; empty where it took none. */
  readonly access: string
}

/** Entries of another version are dropped: fetching again is safer than guessing. */
const VERSION = 1

/** Response heads are at most 64 KiB; anything larger beside a body is not ours. */
export const MAX_META_BYTES = 256 * 1024

export function serializeMeta(meta: EntryMeta): string {
  return `${JSON.stringify({ version: VERSION, ...meta })}\n`
}

/** Undefined for what is not a meta of this version. */
export function parseMeta(text: string): EntryMeta | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { version, ...rest } = value as Record<string, unknown>
  // Both came later than the version.
  const whole = { rule: PATTERNS_RULE, access: '', ...rest }
  return version === VERSION && isMeta(whole) ? whole : undefined
}

function isMeta(value: object): value is EntryMeta {
  const { key, status, reason, headers, digest, size, storedAt, age, bodyMark, epoch, rule, access } =
    value as Record<keyof EntryMeta, unknown>
  return (
    typeof key === 'string' &&
    status === 200 &&
    typeof reason === 'string' &&
    isHeaderList(headers) &&
    typeof digest === 'string' &&
    /^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$/.test(digest) &&
    isCount(size) &&
    isCount(storedAt) &&
    // Date.toISOString throws beyond this (ECMA-262, time values).
    storedAt <= 8.64e15 &&
    isCount(age) &&
    (bodyMark === undefined || typeof bodyMark === 'string') &&
    typeof epoch === 'string' &&
    typeof rule === 'string' &&
    typeof access === 'string'
  )
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function isHeaderList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length % 2 === 0 && value.every((item) => typeof item === 'string')
}
