import { refuse } from '../../../base/http/problem.js'

/** Bytes of a file, both ends included. */
interface ByteRange {
  readonly first: number
  readonly last: number
}

/**
 * The one range that a `Range` header asks for (RFC 9110 section 14). Undefined where the whole is to be sent: no
 * header, another unit, several ranges, or a file that is no longer the one that `If-Range` names.
 *
 * @throws RefusedRequestError with 416 when the file ends before the range begins.
 */
export function readRange(
  headers: { readonly range?: string | undefined; readonly ifRange?: string | undefined },
  tag: string,
  size: number,
): ByteRange | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(headers.range ?? '')
  const [, from = '', to = ''] = match ?? []
  if (match === null || (from === '' && to === '')) return undefined
  if (headers.ifRange !== undefined && headers.ifRange !== tag) return undefined
  const range =
    from === ''
      ? { first: Math.max(0, size - Number(to)), last: size - 1 }
      : { first: Number(from), last: to === '' ? size - 1 : Math.min(Number(to), size - 1) }
  // Not a range at all, which is as if it had not been sent.
  if (from !== '' && to !== '' && Number(to) < Number(from)) return undefined
  if (range.first >= size || range.last < range.first) {
    return refuse(416, `the file has ${size} bytes`, { 'content-range': `bytes */${size}` })
  }
  return range
}
