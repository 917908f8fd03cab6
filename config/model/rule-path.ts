import { pathPatternComplaint } from './path-pattern.js'

/** Longer paths are not compared with regular expressions, which may take polynomial time. */
export const MAX_RULE_PATH_LENGTH = 2048

/**
 * What is wrong with the path of a rule, as the end of a sentence about it. Two forms, both for the whole
 * path without its query, so that `/v2/` can never stand in the middle of another path unnoticed:
 *
 * - `/v2/*`: `*` is any text, slashes included
 * - `^/v2/[a-z]+$`: a regular expression
 */
export function rulePathComplaint(text: string): string | undefined {
  if (text.startsWith('^')) return pathPatternComplaint(text)
  if (!text.startsWith('/')) {
    return 'is not a path; write /v2/* (* is any text), or a regular expression that begins with ^'
  }
  if (text.length > MAX_RULE_PATH_LENGTH) return `is longer than ${MAX_RULE_PATH_LENGTH} characters`
  return /[?#]/.test(text) ? 'holds a query or fragment; rules judge the path alone' : undefined
}

/** Whether a path matches. @param text one that `rulePathComplaint` has no complaint about. */
export function compileRulePath(text: string): (path: string) => boolean {
  if (text.startsWith('^')) {
    // Also the second branch of `^/a|/b` begins at the start.
    const pattern = new RegExp(`^(?:${text})`)
    return (path) => pattern.test(path)
  }
  const [head = '', ...others] = text.split('*')
  const tail = others.pop()
  if (tail === undefined) return (path) => path === text
  // The shortest match of each part leaves the most for the next, so nothing has to be tried again.
  return (path) => {
    if (!path.startsWith(head)) return false
    let at = head.length
    for (const part of others) {
      const found = path.indexOf(part, at)
      if (found === -1) return false
      at = found + part.length
    }
    return path.length - tail.length >= at && path.endsWith(tail)
  }
}
