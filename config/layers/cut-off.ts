import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../model/config.js'
import type { Problem } from '../yaml/problem.js'

/** A text, and what it means over the default. */
export interface SaidText {
  readonly text: string
  readonly config: Config
}

/**
 * Whether a file stops in the midst of what it said before, as on a full disk. Such a text may be right in itself, and
 * lack its lists of what is blocked. Undefined where it means the same, or says where it ends.
 */
export function cutOffProblem(file: string, next: SaidText, former: SaidText): Problem | undefined {
  if (!former.text.startsWith(next.text) || isDeepStrictEqual(next.config, former.config)) return undefined
  const message =
    'it is the beginning of the file in force, as if it had been cut off; if its end was removed on purpose, ' +
    'write a line "..." at its end'
  return { kind: 'invalid', file, message }
}
