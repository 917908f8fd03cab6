/** A larger number of seconds counts as this one (RFC 9111, 1.2.2). */
export const MAX_SECONDS = 2 ** 31

/** `name` or `name=value`, the value a token or in quotes (RFC 9111, 5.2). */
const DIRECTIVE = /([^\s,="]+)(?:=("(?:[^"\\]|\\.)*"|[^\s,]*))?/g

/** What a `Cache-Control` header says. */
export interface CacheControl {
  /** Whether the directive is there, whatever its value: `private="x"` restricts as much as `private` does. */
  has(name: string): boolean
  /** Its value in seconds; 0 where that makes no sense, so that what is unclear is stale. */
  seconds(name: string): number | undefined
}

const NOTHING: CacheControl = { has: () => false, seconds: () => undefined }

/** The first of several directives of one name counts (RFC 9111, 4.2.1). */
export function cacheControl(value: string | undefined): CacheControl {
  if (value === undefined) return NOTHING
  const directives = new Map<string, string>()
  for (const [, name = '', argument = ''] of value.matchAll(DIRECTIVE)) {
    const key = name.toLowerCase()
    if (!directives.has(key)) directives.set(key, argument.replace(/^"(.*)"$/, '$1'))
  }
  return {
    has: (name) => directives.has(name),
    seconds(name) {
      const argument = directives.get(name)
      if (argument === undefined) return undefined
      return /^\d+$/.test(argument) ? Math.min(Number(argument), MAX_SECONDS) : 0
    },
  }
}
