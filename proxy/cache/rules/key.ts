import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { ContentDigest } from '../entry/content-digest.js'
import { promisedDigest } from '../entry/content-key.js'
import type { CacheRequest } from '../contract/contract.js'
import { placeOf, repositoryOf } from './place.js'
import type { Covering } from './rules.js'

/** Which entry answers a request. */
export interface EntryKey {
  /** Readable, stored in the meta. */
  readonly text: string
  /** File name of the entry: sha256 of the text, 64 hex digits. */
  readonly name: string
  /** What the body must hash to; absent where the URL does not say. */
  readonly digest: ContentDigest | undefined
  /** Requests with another query come to the same entry. */
  readonly omitsQuery: boolean
  /** Whose word counts for the request, where the entry is shared between hosts; see `sayings.ts`. */
  readonly place: string
  /** `/v2/<name>`, where a repository is asked for a digest. */
  readonly repository: string | undefined
}

/**
 * Content-addressed URLs share one entry whatever host, hop or signed query they have: the bytes are proven by
 * the digest, so it does not matter who sent them. All others are one entry per scheme, authority, path and,
 * unless the rule ignores it, query; apart from each other by what the rule ignores, and by whose rule it is.
 */
export function entryKey(request: CacheRequest, { rule, digest, apart }: Covering): EntryKey {
  const owner = apart === '' ? '' : `apart ${apart} `
  if (digest !== undefined) {
    const repository = repositoryOf(request)
    const text = `${digest.kind} ${digest.algorithm}:${digest.hex}`
    const place = owner + placeOf(request, repository)
    return { text, name: nameOfKey(text), digest, omitsQuery: true, place, repository }
  }
  const { scheme, authority, path, query } = request
  // No URL has a space in it.
  const asked = rule.ignoreQuery ? `${path} (any query)` : path + query
  const text = `${owner}GET ${scheme}://${authority}${asked}`
  const omitsQuery = rule.ignoreQuery
  return { text, name: nameOfKey(text), digest, omitsQuery, place: '', repository: undefined }
}

/** Names of keys that were asked for last: to hash one takes 2 µs of the 80 that a small hit does. */
const names = new LRUCache<string, string>({ max: 1000 })
/** Those with a digest have 80 or 144 characters, others may have 64,000. */
const REMEMBERED_LENGTH = 200

export function nameOfKey(text: string): string {
  if (text.length > REMEMBERED_LENGTH) return hash('sha256', text)
  const known = names.get(text)
  if (known !== undefined) return known
  const name = hash('sha256', text)
  names.set(text, name)
  return name
}

/** Whether an entry of that name may have that key and a body of that digest. */
export function isKeyOf(text: string, name: string, digest: string): boolean {
  if (nameOfKey(text) !== name) return false
  const promised = promisedDigest(text)
  return promised === undefined || promised === digest
}
