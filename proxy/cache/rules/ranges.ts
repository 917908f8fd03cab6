/** Part of a body; `to` is exclusive. */
export interface Part {
  readonly from: number
  readonly to: number
}

/** What part of a body a `Range` header asks for. */
export type RequestedRange =
  /** All of it: no range, or one we need not understand (RFC 9110, 14.2). */
  | { readonly kind: 'whole' }
  /** At least one, none of them empty, no byte in two of them. */
  | { readonly kind: 'parts'; readonly parts: readonly Part[] }
  | { readonly kind: 'unsatisfiable' }

const WHOLE: RequestedRange = { kind: 'whole' }
const BYTE_RANGES = /^bytes=(.*)$/is
const BYTE_RANGE = /^(\d*)-(\d*)$/

/** Each part costs a head of 100 bytes; RFC 9110, 14.2 lets a server ignore "many small ranges". */
const MAX_RANGES = 64

/**
 * RFC 9110, 14.1.2. A last position past the end means the end: older dockerd asks for `bytes=N-<total>`. An
 * empty body has no parts, and is sent whole rather than refused, as Go's and nginx's file servers do.
 *
 * @param size of the whole body in bytes; Infinity where it is not known.
 */
export function requestedRange(header: string | undefined, size: number): RequestedRange {
  const specs = BYTE_RANGES.exec(header ?? '')?.[1]
    ?.split(',')
    .map((spec) => spec.trim())
    .filter((spec) => spec !== '')
  if (specs === undefined || specs.length === 0 || specs.length > MAX_RANGES || size === 0) return WHOLE
  const parts: Part[] = []
  for (const spec of specs) {
    const [, first, last] = BYTE_RANGE.exec(spec) ?? []
    if (first === undefined || last === undefined || (first === '' && last === '')) return WHOLE
    if (first !== '' && last !== '' && Number(last) < Number(first)) return WHOLE
    const from = first === '' ? Math.max(0, size - Number(last)) : Number(first)
    const to = first === '' || last === '' ? size : Math.min(Number(last) + 1, size)
    // So far from an end that nobody knows yet is a part nobody has yet, not one that does not exist.
    if (from < to || from === Infinity) parts.push({ from, to })
  }
  return parts.length === 0 ? { kind: 'unsatisfiable' } : { kind: 'parts', parts: withoutOverlaps(parts) }
}

/** RFC 9110, 15.3.7.2: in the order asked for, unless they overlap and are sent as one. */
function withoutOverlaps(parts: readonly Part[]): readonly Part[] {
  const merged: Part[] = []
  for (const part of [...parts].sort((one, other) => one.from - other.from)) {
    const last = merged.at(-1)
    if (last === undefined || part.from >= last.to) merged.push(part)
    else merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, part.to) }
  }
  return merged.length === parts.length ? parts : merged
}

/** `bytes=0-`: the whole body, asked for by one who understands 206. containerd begins so. */
export function asksFromStart(header: string): boolean {
  return /^bytes=[ \t]*0+-[ \t]*$/i.test(header)
}

/** The value of `Content-Range`; without a size where it is not known yet. */
export function contentRange({ from, to }: Part, size: number | undefined): string {
  return `bytes ${from}-${to - 1}/${size ?? '*'}`
}
