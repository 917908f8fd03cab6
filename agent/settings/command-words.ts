import { DiscobotError } from '../../base/errors.js'

/** A command line that means nothing without a shell, or nothing at all. */
export class CommandWordsError extends DiscobotError {
  readonly code = 'COMMAND_LINE_INVALID'

  constructor(readonly reason: string) {
    super(`cannot split the command line: ${reason}`)
  }
}

/**
 * Splits a command line as a POSIX shell would, without ever running one: quotes and backslashes work,
 * expansions and operators do not exist. A JSON array of strings is taken as it is.
 *
 * @throws CommandWordsError for an open quote, an operator that only a shell would understand, or no words.
 */
export function splitCommand(text: string): [string, ...string[]] {
  const words = text.trimStart().startsWith('[') ? jsonWords(text) : shellWords(text)
  const [program, ...rest] = words
  if (program === undefined || program === '') throw new CommandWordsError('it names no program')
  return [program, ...rest]
}

function jsonWords(text: string): string[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw new CommandWordsError('it begins with "[" but is not a JSON array')
  }
  if (!Array.isArray(parsed) || !parsed.every((word) => typeof word === 'string')) {
    throw new CommandWordsError('the JSON array may hold strings only')
  }
  return parsed
}

/** Runs of plain characters, quoted parts, escapes, blanks, operators; sticky, so nothing is skipped. */
const TOKEN =
  /(?<blank>\s+)|'(?<single>[^']*)'|"(?<double>(?:[^"\\]|\\[^])*)"|\\(?<escaped>[^])|(?<plain>[^\s'"\\|&;<>()]+)/y

/** @throws CommandWordsError for an open quote or a shell operator. An empty text has no words. */
export function shellWords(text: string): string[] {
  const words: string[] = []
  let word: string | undefined
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex
    const groups = TOKEN.exec(text)?.groups
    if (groups === undefined) throw new CommandWordsError(whatStops(text.charAt(at)))
    if (groups['blank'] !== undefined) {
      if (word !== undefined) words.push(word)
      word = undefined
      continue
    }
    const double = groups['double']?.replace(/\\([$`"\\])/g, '$1').replace(/\\\n/g, '')
    word = (word ?? '') + (groups['single'] ?? double ?? groups['escaped'] ?? groups['plain'] ?? '')
  }
  if (word !== undefined) words.push(word)
  return words
}

function whatStops(character: string): string {
  if (character === '"' || character === "'") return `a quote ${character} is never closed`
  if (character === '\\') return 'it ends in a backslash'
  return `it holds "${character}", which needs a shell: write ["sh","-c","…"] instead`
}
