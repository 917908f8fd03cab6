import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type YAMLError,
} from 'yaml'
import type { Complaint, Mark } from './problem.js'
import { breachOfLimits } from './yaml-limits.js'

export type KeyPath = readonly (string | number)[]

/** A YAML text as plain values, with the place of each. */
export interface YamlDocument {
  /** Strings, numbers, booleans, null, arrays and objects; an empty text is an empty object. */
  readonly value: unknown
  readonly problems: readonly YamlProblem[]
  /** Where a key is written, or the nearest key above it that is. */
  keyMark(path: KeyPath): Mark
  /** Where a value is written; its key's place when there is nothing to point at. */
  valueMark(path: KeyPath): Mark
}

export interface YamlProblem extends Complaint {
  /** `syntax`: the text means nothing; `key`: one key does not. */
  readonly kind: 'syntax' | 'key'
}

/** Each alias is read anew, so what it stands for counts each time. */
const MAX_NODES = 500_000

/**
 * Reads one YAML 1.2 document. Of syntax errors only the first is told: what the parser makes of the rest
 * is a guess. Messages are our own, since the parser's quote the text, which may hold secrets.
 */
export function readYaml(text: string): YamlDocument {
  const lines = new LineCounter()
  const breach = breachOfLimits(text)
  if (breach !== undefined) return unusable(markIn(text, breach.offset), breach.reason)
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    // Its own search for duplicates takes a minute for a 1 MiB mapping.
    uniqueKeys: false,
  })
  const markAt = (offset: number): Mark => lines.linePos(offset)
  const error = document.errors[0] ?? document.warnings[0]
  if (error !== undefined) return unusable(markAt(error.pos[0]), syntaxMessage(error))
  const reader = new NodeReader(document, markAt)
  const value = reader.read(document.contents, [], { line: 1, col: 1 }) ?? {}
  if (reader.failure !== undefined) return unusable(reader.failure.mark, reader.failure.message)
  return {
    value,
    problems: reader.problems,
    keyMark: (path) => nearestMark(reader.keyMarks, path),
    valueMark: (path) => nearestMark(reader.valueMarks, path),
  }
}

class NodeReader {
  readonly problems: YamlProblem[] = []
  readonly keyMarks = new Map<string, Mark>()
  readonly valueMarks = new Map<string, Mark>()
  failure: Complaint | undefined
  #nodes = 0
  #aliasDepth = 0

  constructor(
    readonly document: Document,
    readonly markAt: (offset: number) => Mark,
  ) {}

  read(node: unknown, path: KeyPath, keyMark: Mark): unknown {
    this.#nodes++
    // An alias inside what it stands for has no end; two levels of aliases are more than anyone writes.
    if (this.#nodes > MAX_NODES || this.#aliasDepth > 2) {
      this.failure ??= { mark: keyMark, message: 'its aliases expand to too much' }
    }
    if (this.failure !== undefined) return null
    const start = hasRange(node) ? node.range[0] : undefined
    const isWritten = start !== undefined && !(isScalar(node) && node.source === '' && node.type === 'PLAIN')
    // What an alias stands for is written elsewhere, once: the alias is the place to point at.
    const mark = isWritten && this.#aliasDepth === 0 ? this.markAt(start) : keyMark
    this.valueMarks.set(keyOf(path), mark)
    if (isAlias(node)) {
      const target = node.resolve(this.document)
      if (target === undefined) this.failure ??= { mark, message: 'an alias (*) has no anchor (&) before it' }
      this.#aliasDepth++
      const value = this.read(target, path, mark)
      this.#aliasDepth--
      return value
    }
    if (isScalar(node)) return node.value
    if (isSeq(node)) return node.items.map((item, index) => this.read(item, [...path, index], mark))
    if (!isMap(node)) return null
    const object: Record<string, unknown> = {}
    for (const pair of node.items) {
      const name = isScalar(pair.key) ? String(pair.key.value) : ''
      const nameMark = hasRange(pair.key) && this.#aliasDepth === 0 ? this.markAt(pair.key.range[0]) : mark
      const itemPath = [...path, name]
      const complaint = this.#keyComplaint(name, itemPath)
      if (complaint !== undefined) {
        this.problems.push({ kind: 'key', mark: nameMark, message: complaint })
        continue
      }
      this.keyMarks.set(keyOf(itemPath), nameMark)
      object[name] = this.read(pair.value, itemPath, nameMark)
    }
    return object
  }

  #keyComplaint(name: string, path: KeyPath): string | undefined {
    const first = this.keyMarks.get(keyOf(path))
    if (first !== undefined)
      return `option ${quoteOption(path)} is given twice; the first is in line ${first.line}`
    // `__proto__`, `constructor` and their like are in every object, so a check for them finds them.
    return name in {} ? `unknown option ${quoteOption(path)}` : undefined
  }
}

/** `cache.patterns[0]`, with its quotes; what is not printable is escaped, what is long is cut. */
export function quoteOption(path: KeyPath): string {
  const name = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('')
  const bare = name.startsWith('.') ? name.slice(1) : name
  return JSON.stringify(bare.length > 120 ? `${bare.slice(0, 119)}…` : bare)
}

function syntaxMessage(error: YAMLError): string {
  return `not valid YAML: ${SYNTAX_MESSAGES[error.code] ?? 'the text cannot be understood here'}`
}

const SYNTAX_MESSAGES: Readonly<Partial<Record<YAMLError['code'], string>>> = {
  BAD_ALIAS: 'an alias has no name',
  BAD_DIRECTIVE: 'a directive (%) is not known',
  BAD_DQ_ESCAPE: 'an escape in double quotes is not known; use single quotes, or write \\\\ for a backslash',
  BAD_INDENT: 'wrong indentation, or a bracket that is not closed',
  BAD_SCALAR_START: 'a value cannot begin with this character; put it in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a second ": " in one line; put the value in quotes, or the key on its own line',
  BLOCK_IN_FLOW: 'an indented block inside brackets',
  KEY_OVER_1024_CHARS: 'a key is longer than 1024 characters',
  MISSING_CHAR: 'something is missing: a closing quote, a ":" after a key, or a "," between items',
  MULTILINE_IMPLICIT_KEY: 'a key goes on in the next line; is a ":" missing?',
  MULTIPLE_DOCS: 'a second document begins; write one',
  NON_STRING_KEY: 'a key is not text',
  RESOURCE_EXHAUSTION: 'it is nested too deeply',
  TAB_AS_INDENT: 'a tab as indentation; use spaces',
  TAG_RESOLVE_FAILED: 'a tag (!) is not known, or does not fit its value',
  UNEXPECTED_TOKEN: 'this does not belong here',
}

function unusable(mark: Mark, reason: string): YamlDocument {
  const message = reason.startsWith('not valid YAML') ? reason : `not usable: ${reason}`
  return {
    value: {},
    problems: [{ kind: 'syntax', mark, message }],
    keyMark: () => mark,
    valueMark: () => mark,
  }
}

function markIn(text: string, offset: number): Mark {
  const before = text.slice(0, offset)
  return { line: before.split('\n').length, col: offset - before.lastIndexOf('\n') }
}

function nearestMark(marks: ReadonlyMap<string, Mark>, path: KeyPath): Mark {
  for (let length = path.length; length > 0; length--) {
    const mark = marks.get(keyOf(path.slice(0, length)))
    if (mark !== undefined) return mark
  }
  return { line: 1, col: 1 }
}

function keyOf(path: KeyPath): string {
  return JSON.stringify(path)
}

function hasRange(node: unknown): node is { readonly range: readonly [number, number, number] } {
  return typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)
}
