import { headerValue, tokens } from '../headers.js'
import type { ContentDigest } from './content-digest.js'
import type { FetchUpstream, UpstreamResponse } from './contract.js'
import { contentLength } from './storable.js'
import type { Proceed } from './upstream-body.js'

/**
 * How to have the rest of a body that breaks off; undefined where nothing tells that it is of the same body: that
 * takes a strong validator (RFC 9110, 8.8.1), or a digest that is checked in the end.
 */
export function resumption(
  first: UpstreamResponse,
  digest: ContentDigest | undefined,
  fetchUpstream: FetchUpstream,
  signal: AbortSignal,
): Proceed | undefined {
  const tag = strongTag(first)
  if (tag === undefined && digest === undefined) return undefined
  const total = contentLength(headerValue(first.rawHeaders, 'content-length'))
  const condition = tag === undefined ? [] : ['If-Range', tag]
  return async (position) => {
    const next = await fetchUpstream(signal, { headers: ['Range', `bytes=${position}-`, ...condition] })
    next.body.on('error', () => undefined)
    if (continues(next, position, total) && (tag === undefined || strongTag(next) === tag)) return next.body
    next.body.destroy()
    return undefined
  }
}

function strongTag({ rawHeaders }: UpstreamResponse): string | undefined {
  const tag = headerValue(rawHeaders, 'etag')?.trim()
  return tag?.startsWith('"') === true ? tag : undefined
}

/** Whether an answer is everything from `position` on; a 200 would begin anew, and an error is no body at all. */
function continues(
  { status, rawHeaders }: UpstreamResponse,
  position: number,
  total: number | undefined,
): boolean {
  if (status !== 206) return false
  if (tokens(headerValue(rawHeaders, 'content-encoding')).some((name) => name !== 'identity')) return false
  const [, first, last, size] =
    /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(headerValue(rawHeaders, 'content-range') ?? '') ?? []
  if (Number(first) !== position) return false
  const known = total ?? (size === '*' ? undefined : Number(size))
  return known !== undefined && Number(last) === known - 1 && (size === '*' || Number(size) === known)
}
