import type { Document, YAMLError } from 'yaml'
import {
  keyOf,
  nearestMark,
  type KeyPath,
  type ParsedYaml,
  type YamlDocument,
  type YamlProblem,
} from './parsed-yaml.js'
import type { Complaint, Mark } from './problem.js'
import { breachOfLimits } from './yaml-limits.js'
import { yamlPackage } from './yaml-package.js'

export type { KeyPath, YamlDocument } from './parsed-yaml.js'

/** Each alias is read anew, so what it stands for counts each time. */
const MAX_NODES = 500_000

/**
 * Reads one YAML 1.2 document. Of syntax errors only the first is told: what the parser makes of the rest
 * is a guess. Messages are our own, since the parser's quote the text, which may hold secrets.
 */
export function readYaml(text: string): YamlDocument {
  const read = readNodes(text)
  if (!(read instanceof NodeReader)) return read
  const { keyMarks, valueMarks, value, problems } = read
  return {
    value,
    problems,
    keyMark: (path) => nearestMark((key) => keyMarks.get(key), path),
    valueMark: (path) => nearestMark((key) => valueMarks.get(key), path),
  }
}

/** As {@link readYaml}, in a form that can be kept. @throws when there is anything wrong with the text. */
export function parseYaml(text: string): ParsedYaml {
  const read = readNodes(text)
  const [problem] = read.problems
  if (!(read instanceof NodeReader) || problem !== undefined)
    throw new Error(problem?.message ?? 'not valid YAML')
  const { value, keyMarks, valueMarks } = read
  return { value, keyMarks: Object.fromEntries(keyMarks), valueMarks: Object.fromEntries(valueMarks) }
}

/** The reader at the end of its work, or a document that says why there is nothing to be read. */
function readNodes(text: string): NodeReader | YamlDocument {
  const { LineCounter, parseDocument } = yamlPackage()
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
  reader.value = reader.read(document.contents, [], { line: 1, col: 1 }) ?? {}
  return reader.failure === undefined ? reader : unusable(reader.failure.mark, reader.failure.message)
}

class NodeReader {
  value: unknown
  readonly problems: YamlProblem[] = []
  readonly keyMarks = new Map<string, Mark>()
  readonly valueMarks = new Map<string, Mark>()
  failure: Complaint | undefined
  readonly #yaml = yamlPackage()
  #nodes = 0
  #aliasDepth = 0

  constructor(
    readonly document: Document,
    readonly markAt: (offset: number) => Mark,
  ) {}

  read(node: unknown, path: KeyPath, keyMark: Mark): unknown {
    const { isAlias, isMap, isScalar, isSeq } = this.#yaml
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

function hasRange(node: unknown): node is { readonly range: readonly [number, number, number] } {
  return typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)
}
