import { endToEnd, headerValue, via, without, type RawHeaders } from '../../message/headers.js'
import { MAX_SECONDS } from './cache-control.js'
import type { ContentDigest } from './content-digest.js'
import type { EntryMeta } from './meta.js'
import type { StoredEntry } from './stored-entry.js'

/** Of the moment (`Age`, quotas, sessions), ours to say, or framing that belongs to one transfer: only a 200 is stored, of which no part is meant. */
const NEVER_STORED =
  /^(age|content-length|content-range|retry-after|set-cookie|via|x-cache|x-cache-date|(x-)?ratelimit(-.*)?)$/

/** The part of an upstream head that may be replayed with the stored body; always with a `Date`. */
export function headersToStore(
  raw: RawHeaders,
  digest: ContentDigest | undefined,
  receivedAtMs: number,
): string[] {
  const kept = without(endToEnd(raw), (name) => NEVER_STORED.test(name))
  // RFC 9110, 6.6.1: who caches a response without a date adds one.
  if (headerValue(kept, 'date') === undefined) kept.push('Date', new Date(receivedAtMs).toUTCString())
  // A CDN does not name the digest where a registry would, and clients that ask a registry rely on it.
  if (digest?.kind === 'manifest' && headerValue(kept, 'docker-content-digest') === undefined) {
    kept.push('Docker-Content-Digest', `${digest.algorithm}:${digest.hex}`)
  }
  return kept
}

/** What can be said of a body that its digest proves, where the place that is asked has said nothing itself. */
export function provenHeaders(
  { kind, algorithm, hex }: ContentDigest,
  mediaType: string | undefined,
  storedAtMs: number,
): string[] {
  const type = kind === 'blob' ? 'application/octet-stream' : mediaType
  return [
    ...(type === undefined ? [] : ['Content-Type', type]),
    'Docker-Content-Digest',
    `${algorithm}:${hex}`,
    'Date',
    new Date(storedAtMs).toUTCString(),
  ]
}

/** What was said of the bytes when they came holds as long as they do (RFC 9111, 3.2): a 304 brings none. */
const OF_THE_BYTES =
  /^(content-(digest|encoding|length|md5|range)|digest|docker-content-digest|etag|last-modified|repr-digest)$/

/** The entry after a 304 (RFC 9111, 4.3.4): what that says of the head replaces what was stored. */
export function refreshed(
  meta: EntryMeta,
  answer: RawHeaders,
  digest: ContentDigest | undefined,
  nowMs: number,
): EntryMeta {
  const news = without(headersToStore(answer, digest, nowMs), (name) => OF_THE_BYTES.test(name))
  const named = new Set(news.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()))
  const kept = without(meta.headers, (name) => named.has(name))
  return { ...meta, headers: [...kept, ...news], storedAt: nowMs, age: upstreamAge(answer) }
}

/** The head for the one whose request fetched the body: upstream's own, without framing. */
export function fillingHead(raw: RawHeaders): string[] {
  const ours = new Set(['content-length', 'content-range', 'x-cache', 'x-cache-date'])
  const passed = without(endToEnd(raw), (name) => ours.has(name))
  return [...passed, 'Via', via(), 'X-Cache', 'MISS']
}

/** The head for those who joined a running fetch, without framing. `X-Cache-Date` is missing: nothing is stored yet. */
export function joiningHead(stored: RawHeaders): string[] {
  return [...stored, ...acceptRanges(stored), 'Via', via(), 'X-Cache', 'HIT']
}

/** What every answer from an entry says in its head. */
export function fixedHead({ headers, storedAt }: EntryMeta): string[] {
  const date = new Date(storedAt).toISOString()
  return [...headers, ...acceptRanges(headers), 'Via', via(), 'X-Cache', 'HIT', 'X-Cache-Date', date]
}

/** The head of an answer from the store, without framing. */
export function storedHead({ meta, head = fixedHead(meta) }: StoredEntry, nowMs: number): string[] {
  const resident = Math.max(0, Math.floor((nowMs - meta.storedAt) / 1000))
  return [...head, 'Age', String(meta.age + resident)]
}

function acceptRanges(stored: RawHeaders): string[] {
  return headerValue(stored, 'accept-ranges') === undefined ? ['Accept-Ranges', 'bytes'] : []
}

/** RFC 9110, 15.4.5: what a 304 carries of the head it stands for. */
const NOT_MODIFIED_HEADERS = new Set([
  'age',
  'cache-control',
  'content-location',
  'date',
  'docker-content-digest',
  'etag',
  'expires',
  'last-modified',
  'vary',
  'via',
  'x-cache',
  'x-cache-date',
])

export function notModifiedHead(head: RawHeaders): string[] {
  return without(head, (name) => !NOT_MODIFIED_HEADERS.has(name))
}

/** `Age` of an upstream answer in seconds; one that makes no sense is taken for the greatest there is. */
export function upstreamAge(raw: RawHeaders): number {
  const value = headerValue(raw, 'age')
  if (value === undefined) return 0
  return /^\d+$/.test(value) ? Math.min(Number(value), MAX_SECONDS) : MAX_SECONDS
}
