const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
}

/** A number and a unit; whether it is in range, {@link parseTimeSpan} says. */
export const TIME_SPAN_PATTERN = /^(\d+(?:\.\d+)?) ?(ms|s|m|h|d|w)$/

/** A hundred years: later than any package is asked for, and still far from where sums of dates lose a millisecond. */
export const MAX_TIME_SPAN_MS = 100 * 366 * 86_400_000

/**
 * Whole milliseconds of how long something stays good: `90s`, `12h`, `7d`, `2w`, or a bare number, which is
 * milliseconds. `undefined` when it is not such a span, or is longer than a hundred years.
 */
export function parseTimeSpan(span: number | string): number | undefined {
  if (typeof span === 'number') return isUsable(span) ? span : undefined
  const [, amount, unit] = TIME_SPAN_PATTERN.exec(span) ?? []
  const factor = UNIT_MS[unit ?? '']
  if (amount === undefined || factor === undefined) return undefined
  const ms = Math.round(Number(amount) * factor)
  return isUsable(ms) ? ms : undefined
}

function isUsable(ms: number): boolean {
  return Number.isSafeInteger(ms) && ms >= 0 && ms <= MAX_TIME_SPAN_MS
}
