import { headerValue, type RawHeaders } from '../../message/headers.js'
import type { CacheRequest } from '../contract/contract.js'
import { httpDate } from '../entry/http-date.js'

/**
 * Whether the client already has what is stored (RFC 9110, 13.2.2 steps 3 and 4), so that 304 is the answer.
 *
 * @param stored headers of the entry.
 */
export function isNotModified(request: CacheRequest, stored: RawHeaders): boolean {
  const tags = request.header('if-none-match')
  if (tags !== undefined) {
    if (tags.trim() === '*') return true
    const own = headerValue(stored, 'etag')
    return own !== undefined && entityTags(tags).includes(opaque(own))
  }
  const since = httpDate(request.header('if-modified-since'))
  if (since === undefined) return false
  const modified = httpDate(headerValue(stored, 'last-modified'))
  return modified !== undefined && modified <= since
}

/**
 * Whether a `Range` may be answered with a part (RFC 9110, 13.1.5): what `If-Range` names must be, strongly
 * compared, what is stored.
 */
export function isRangeCurrent(request: Pick<CacheRequest, 'header'>, stored: RawHeaders): boolean {
  const condition = request.header('if-range')?.trim()
  if (condition === undefined) return true
  if (condition.startsWith('"')) return condition === headerValue(stored, 'etag')?.trim()
  if (condition.startsWith('W/')) return false
  const modified = httpDate(headerValue(stored, 'last-modified'))
  const dated = httpDate(headerValue(stored, 'date'))
  if (modified === undefined || dated === undefined || modified !== httpDate(condition)) return false
  // Within the second of a change there may have been another (RFC 9110, 8.8.2.2).
  return dated - modified >= 1000
}

/** The tags of a list, without their weakness: RFC 9110, 13.1.2 has `If-None-Match` compare weakly. */
function entityTags(list: string): string[] {
  return [...list.matchAll(/(?:W\/)?("[^"]*")/g)].map(([, tag = '']) => tag)
}

function opaque(tag: string): string {
  return tag.trim().replace(/^W\//, '')
}
