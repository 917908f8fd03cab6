import type { Complaint, Mark } from './problem.js'

export type KeyPath = readonly (string | number)[]

/** A YAML text as plain values, with the place of each. */
export interface YamlDocument {
  /** Strings, numbers, booleans, null, arrays and objects; an empty text is an empty object. */
  readonly value: unknown
  readonly problems: readonly YamlProblem[]
  /** It holds no value at all: no bytes, only comments, `---`, or null. */
  readonly isEmpty: boolean
  /** It ends with `...`, the mark of YAML 1.2.2, 9.1.2. */
  readonly endsExplicitly: boolean
  /** Where a key is written, or the nearest key above it that is. */
  keyMark(path: KeyPath): Mark
  /** Where a value is written; its key's place when there is nothing to point at. */
  valueMark(path: KeyPath): Mark
}

export interface YamlProblem extends Complaint {
  /** `syntax`: the text means nothing; `key`: one key does not. */
  readonly kind: 'syntax' | 'key'
}

/** What a text without mistakes says, as JSON can hold it, so that it need not be parsed again. */
export interface ParsedYaml {
  readonly value: unknown
  /** By {@link keyOf}. */
  readonly keyMarks: Readonly<Record<string, Mark>>
  readonly valueMarks: Readonly<Record<string, Mark>>
}

export function documentOf({ value, keyMarks, valueMarks }: ParsedYaml): YamlDocument {
  return {
    value,
    problems: [],
    isEmpty: false,
    // What is kept was whole when it was read.
    endsExplicitly: true,
    keyMark: (path) => nearestMark((key) => keyMarks[key], path),
    valueMark: (path) => nearestMark((key) => valueMarks[key], path),
  }
}

function nearestMark(markOf: (key: string) => Mark | undefined, path: KeyPath): Mark {
  for (let length = path.length; length > 0; length--) {
    const mark = markOf(keyOf(path.slice(0, length)))
    if (mark !== undefined) return mark
  }
  return START
}

export const START: Mark = { line: 1, col: 1 }

export function keyOf(path: KeyPath): string {
  return JSON.stringify(path)
}
