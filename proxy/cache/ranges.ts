/** What part of a body a `Range` header asks for. */
export type RequestedRange =
  /** All of it: no range, one we need not understand, or several (RFC 9110, 14.2: may be ignored). */
  | { readonly kind: 'whole' }
  /** `end` is exclusive. */
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  | { readonly kind: 'unsatisfiable' }

const WHOLE: RequestedRange = { kind: 'whole' }
/** Longer numbers are no positions in any file, and not exact as numbers either. */
const BYTE_RANGE = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i

/**
 * RFC 9110, 14.1.2. A last position past the end means the end: older dockerd asks for `bytes=N-<total>`.
 *
 * @param size of the whole body in bytes.
 */
export function requestedRange(header: string | undefined, size: number): RequestedRange {
  const [, first, last] = (header === undefined ? null : BYTE_RANGE.exec(header)) ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return WHOLE
  if (first === '') {
    const count = Math.min(Number(last), size)
    return count === 0 ? { kind: 'unsatisfiable' } : { kind: 'part', start: size - count, end: size }
  }
  const start = Number(first)
  const end = last === '' ? size : Math.min(Number(last) + 1, size)
  if (last !== '' && Number(last) < start) return WHOLE
  return start >= size ? { kind: 'unsatisfiable' } : { kind: 'part', start, end }
}

/** `bytes=0-`: the whole body, asked for by one who understands 206. containerd begins so. */
export function asksFromStart(header: string): boolean {
  return /^bytes=[ \t]*0+-[ \t]*$/i.test(header)
}

/** The value of `Content-Range`. */
export function contentRange(start: number, end: number, size: number): string {
  return `bytes ${start}-${end - 1}/${size}`
}
