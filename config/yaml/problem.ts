import { DiscobotError } from '../../base/errors.js'

/** A place in a text file, both counted from 1, in UTF-16 units as editors do. */
export interface Mark {
  readonly line: number
  readonly col: number
}

/**
 * - `unreadable`: the file could not be read, or is not YAML
 * - `invalid`: a key or value is wrong; the file as a whole is not used
 * - `refused`: right in itself, but not for this file to say; that one key is not used
 */
export type ProblemKind = 'unreadable' | 'invalid' | 'refused'

/** Something wrong with a configuration file. Its message never quotes a header's value. */
export interface Problem {
  readonly kind: ProblemKind
  readonly file: string
  /** Absent when the file as a whole is meant. */
  readonly mark?: Mark
  readonly message: string
}

/** What is wrong at a place; the file is added by whoever knows it. */
export interface Complaint {
  readonly mark: Mark
  readonly message: string
}

/** `file:line:col: message`, as compilers write it and editors follow it. */
export function formatProblem({ file, mark, message }: Problem): string {
  return mark === undefined ? `${file}: ${message}` : `${file}:${mark.line}:${mark.col}: ${message}`
}

/** The first of them in one line, and how many more there are. */
export function firstOf(problems: readonly Problem[]): string {
  const [first, ...others] = problems.map(formatProblem)
  if (first === undefined) return 'nothing is wrong'
  return others.length === 0 ? first : `${first} (and ${others.length} more)`
}

/** What one file may add to a log; a file full of mistakes is one mistake. */
const MAX_PROBLEMS = 50

/** The problems of one file in the order of its lines: the first of them, and how many more there are. */
export function orderProblems(problems: readonly Problem[]): readonly Problem[] {
  const ordered = [...problems].sort((a, b) => lineOf(a) - lineOf(b) || colOf(a) - colOf(b))
  const [first] = ordered
  if (first === undefined || ordered.length <= MAX_PROBLEMS) return ordered
  const message = `and ${ordered.length - MAX_PROBLEMS} more problems`
  return [...ordered.slice(0, MAX_PROBLEMS), { kind: first.kind, file: first.file, message }]
}

function lineOf({ mark }: Problem): number {
  return mark?.line ?? 0
}

function colOf({ mark }: Problem): number {
  return mark?.col ?? 0
}

/** No usable configuration could be made of a file; `problems` is all that is wrong with it. */
export class ConfigError extends DiscobotError {
  readonly code = 'CONFIG_INVALID'

  constructor(
    readonly file: string,
    readonly problems: readonly Problem[],
  ) {
    const lines = problems.map((problem) => `  ${formatProblem(problem)}`)
    super(`cannot use the configuration in ${file}:\n${lines.join('\n')}`)
  }
}

export function unreadable(file: string, reason: string): Problem {
  return { kind: 'unreadable', file, message: `cannot read it: ${reason}` }
}
