const TIME = '\\d\\d:\\d\\d:\\d\\d'
/** `Sun, 06 Nov 1994 08:49:37 GMT`, and the older `Sunday, 06-Nov-94 08:49:37 GMT`. */
const WITH_ZONE = new RegExp(`^[A-Z][a-z]{2,8}, \\d\\d[ -][A-Z][a-z]{2}[ -](?:\\d{4}|\\d\\d) ${TIME} GMT$`)
/** `Sun Nov  6 08:49:37 1994`: asctime. */
const WITHOUT_ZONE = new RegExp(`^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \\d]\\d ${TIME} \\d{4}$`)

/**
 * Milliseconds since 1970 of a date in one of the three forms of RFC 9110, 5.6.7; undefined for anything else,
 * much of which `Date.parse` would take for some date or other: `0` for the year 2000.
 */
export function httpDate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const time = WITH_ZONE.test(text)
    ? Date.parse(text)
    : WITHOUT_ZONE.test(text)
      ? Date.parse(`${text} GMT`)
      : NaN
  return Number.isNaN(time) ? undefined : time
}
