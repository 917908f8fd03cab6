import { reasonOf } from '../../base/errors.js'

/** Longer ones are nobody's regular expression for a URL path, and compile slowly. */
const MAX_PATTERN_LENGTH = 512

/**
 * Why a regular expression cannot be matched against every request's path.
 *
 * Backtracking is exponential only if something repeated can itself match one text in two ways. The check
 * is cheap and errs on the safe side: a group that is repeated without bound may neither repeat nor branch
 * inside, and there are no back references. Several unbounded repeats side by side stay polynomial in the
 * length of the path; whoever matches must bound that.
 */
export function pathPatternComplaint(pattern: string): string | undefined {
  if (pattern === '') return 'is empty and would match everything; write a regular expression'
  if (pattern.length > MAX_PATTERN_LENGTH) return `is longer than ${MAX_PATTERN_LENGTH} characters`
  try {
    new RegExp(pattern)
  } catch (error) {
    return `is not a regular expression: ${reasonOf(error).split(': ').at(-1)}`
  }
  return hasNestedRepeat(pattern)
    ? 'repeats a group that itself repeats or branches, or refers back to one, which can take for ever; ' +
        'write it without nesting'
    : undefined
}

/** An escape, a class, the start of a group, a quantifier, or any single character. */
const TOKEN = /\\.|\[(?:\\.|[^\]\\])*\]|\((?:\?(?:[:=!]|<[=!]|<[^>]*>))?|\{\d+(?:,\d*)?\}|./gsu

function hasNestedRepeat(pattern: string): boolean {
  const groups = [{ varies: false }]
  let closed: { varies: boolean } | undefined
  for (const [token] of pattern.matchAll(TOKEN)) {
    const inner = closed
    closed = undefined
    const group = groups.at(-1)
    if (group === undefined) return true
    if (/^\\[1-9k]/.test(token)) return true
    if (token.startsWith('(')) {
      groups.push({ varies: false })
    } else if (token === ')') {
      closed = groups.pop()
      const outer = groups.at(-1)
      if (outer !== undefined && closed?.varies === true) outer.varies = true
    } else if (token === '|' || token === '?') {
      group.varies = true
    } else if (isRepeat(token)) {
      if (inner?.varies === true) return true
      group.varies = true
    }
  }
  return false
}

function isRepeat(token: string): boolean {
  return token === '*' || token === '+' || /^\{\d/.test(token)
}
