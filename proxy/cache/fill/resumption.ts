import { headerValue, tokens } from '../../message/headers.js'
import type { ContentDigest } from '../entry/content-digest.js'
import type { FetchUpstream, UpstreamResponse } from '../contract/contract.js'
import { contentLength } from '../rules/storable.js'
import type { Proceed } from '../body/upstream-body.js'

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
  let total = contentLength(headerValue(first.rawHeaders, 'content-length'))
  const condition = tag === undefined ? [] : ['If-Range', tag]
  return async (position) => {
    const next = await fetchUpstream(signal, { headers: ['Range', `bytes=${position}-`, ...condition] })
    next.body.on('error', () => undefined)
    const end = endOf(next, position, total)
    if (end === undefined || (tag !== undefined && strongTag(next) !== tag)) {
      next.body.destroy()
      return undefined
    }
    // The next rest must be of the same whole, also where the first answer did not say how long that is.
    total = end
    return { body: next.body, end }
  }
}

function strongTag({ rawHeaders }: UpstreamResponse): string | undefined {
  const tag = headerValue(rawHeaders, 'etag')?.trim()
  return tag?.startsWith('"') === true ? tag : undefined
}

/**
 * Length of the whole by an answer that is everything from `position` on; undefined for one that is not. A 200 would
 * begin anew, and an error is no body at all.
 */
function endOf(
  { status, rawHeaders }: UpstreamResponse,
  position: number,
  total: number | undefined,
): number | undefined {
  if (status !== 206) return undefined
  if (tokens(headerValue(rawHeaders, 'content-encoding')).some((name) => name !== 'identity'))
    return undefined
  // Its bytes are text and parts, whatever `Content-Range` says beside them (RFC 9110, 15.3.7.2).
  if (/^\s*multipart\/byteranges/i.test(headerValue(rawHeaders, 'content-type') ?? '')) return undefined
  const [, first, last, size] =
    /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(headerValue(rawHeaders, 'content-range') ?? '') ?? []
  if (Number(first) !== position) return undefined
  // Where nobody has said the size, nothing tells that the part is all there is.
  const known = size === '*' ? total : Number(size)
  const isRest = known === Number(last) + 1 && known > position && known === (total ?? known)
  return isRest ? known : undefined
}
