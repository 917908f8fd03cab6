import type { Document, YAMLError } from 'yaml'
import { START, type KeyPath, type ParsedYaml, type YamlDocument, type YamlProblem } from './parsed-yaml.js'
import type { Complaint, Mark } from './problem.js'
import { breachOfLimits } from './yaml-limits.js'
import { yamlPackage } from './yaml-package.js'
import { keyMarkIn, marksOf, valueMarkIn, type YamlPlace } from './yaml-places.js'

export type { KeyPath, YamlDocument } from './parsed-yaml.js'

const MAX_NODES = 500_000
/** Each alias is read anew, so what it stands for counts each time. A hundred of them may stand for a whole file each. */
const MAX_ALIASED_NODES = 20_000
/** As YAML has it for a key that is not marked by `?` (1.2.2, 7.4.2). A host pattern has 255 at most. */
const MAX_KEY_LENGTH = 1024

/**
 * Reads one YAML 1.2 document. Of syntax errors only the first is told: what the parser makes of the rest
 * is a guess. Messages are our own, since the parser's quote the text, which may hold secrets.
 */
export function readYaml(text: string): YamlDocument {
  const read = readNodes(text)
  if (!(read instanceof NodeReader)) return read
  const { root, value, problems, document } = read
  return {
    value: value ?? {},
    problems,
    isEmpty: value === null,
    endsExplicitly: document.directives?.docEnd === true,
    keyMark: (path) => keyMarkIn(root, path),
    valueMark: (path) => valueMarkIn(root, path),
  }
}

/** As {@link readYaml}, in a form that can be kept. @throws when there is anything wrong with the text. */
export function parseYaml(text: string): ParsedYaml {
  const read = readNodes(text)
  const [problem] = read.problems
  if (!(read instanceof NodeReader) || problem !== undefined)
    throw new Error(problem?.message ?? 'not valid YAML')
  return { value: read.value ?? {}, ...marksOf(read.root) }
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
  if (error !== undefined) {
    const mark = markAt(error.pos[0])
    return unusable(
      mark,
      bareStarMessage(text, mark) ?? behindEndMessage(error, text, mark) ?? syntaxMessage(error),
    )
  }
  const reader = new NodeReader(document, markAt)
  const { failure } = reader
  if (failure === undefined) return reader
  return unusable(failure.mark, bareStarMessage(text, failure.mark) ?? failure.message)
}

const NOTHING_BELOW: YamlPlace['below'] = new Map()

class NodeReader {
  readonly value: unknown
  readonly root: YamlPlace
  readonly problems: YamlProblem[] = []
  failure: Complaint | undefined
  readonly #yaml = yamlPackage()
  #nodes = 0
  #aliasedNodes = 0
  #aliasDepth = 0

  constructor(
    readonly document: Document,
    readonly markAt: (offset: number) => Mark,
  ) {
    const { value, place } = this.#read(document.contents, [], START, undefined)
    this.value = value
    this.root = place
  }

  #read(
    node: unknown,
    path: KeyPath,
    above: Mark,
    key: Mark | undefined,
  ): { readonly value: unknown; readonly place: YamlPlace } {
    const { isAlias, isMap, isScalar, isSeq } = this.#yaml
    this.#count(above)
    const start = hasRange(node) ? node.range[0] : undefined
    const isWritten = start !== undefined && !(isScalar(node) && node.source === '' && node.type === 'PLAIN')
    // What an alias stands for is written elsewhere, once: the alias is the place to point at.
    const mark = isWritten && this.#aliasDepth === 0 ? this.markAt(start) : above
    const place: YamlPlace = { value: mark, key, below: NOTHING_BELOW }
    if (this.failure !== undefined) return { value: null, place }
    if (isAlias(node)) {
      const target = node.resolve(this.document)
      if (target === undefined) this.failure ??= { mark, message: 'an alias (*) has no anchor (&) before it' }
      this.#aliasDepth++
      const read = this.#read(target, path, mark, key)
      this.#aliasDepth--
      return read
    }
    if (isScalar(node)) return { value: node.value, place }
    const below = new Map<string | number, YamlPlace>()
    if (isSeq(node)) {
      const items = node.items.map((item, index) => {
        const read = this.#read(item, [...path, index], mark, undefined)
        below.set(index, read.place)
        return read.value
      })
      return { value: items, place: { ...place, below } }
    }
    if (!isMap(node)) return { value: null, place }
    const object: Record<string, unknown> = {}
    for (const pair of node.items) {
      const name = isScalar(pair.key) ? String(pair.key.value) : ''
      const nameMark = hasRange(pair.key) && this.#aliasDepth === 0 ? this.markAt(pair.key.range[0]) : mark
      const itemPath = [...path, name]
      const complaint = keyComplaint(name, itemPath, below.get(name)?.key)
      if (complaint !== undefined) {
        this.problems.push({ kind: 'key', mark: nameMark, message: complaint })
        continue
      }
      const read = this.#read(pair.value, itemPath, nameMark, nameMark)
      below.set(name, read.place)
      object[name] = read.value
    }
    return { value: object, place: { ...place, below } }
  }

  #count(mark: Mark): void {
    this.#nodes++
    if (this.#aliasDepth > 0) this.#aliasedNodes++
    // An alias inside what it stands for has no end; two levels of aliases are more than anyone writes.
    if (this.#nodes > MAX_NODES || this.#aliasedNodes > MAX_ALIASED_NODES || this.#aliasDepth > 2)
      this.failure ??= { mark, message: 'its aliases expand to too much' }
  }
}

function keyComplaint(name: string, path: KeyPath, first: Mark | undefined): string | undefined {
  if (name.length > MAX_KEY_LENGTH)
    return `option ${quoteOption(path)}: the key is longer than ${MAX_KEY_LENGTH} characters`
  if (first !== undefined)
    return `option ${quoteOption(path)} is given twice; the first is in line ${first.line}`
  // `__proto__`, `constructor` and their like are in every object, so a check for them finds them.
  return name in {} ? `unknown option ${quoteOption(path)}` : undefined
}

/** `cache.patterns[0]`, with its quotes; what is not printable is escaped, what is long is cut. */
export function quoteOption(path: KeyPath): string {
  // Cut before they are joined, too: a path may be of many long keys.
  const name = path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${part.slice(0, 120)}`))
    .join('')
  const bare = name.startsWith('.') ? name.slice(1) : name
  return JSON.stringify(bare.length > 120 ? `${bare.slice(0, 119)}…` : bare)
}

function syntaxMessage(error: YAMLError): string {
  return `not valid YAML: ${SYNTAX_MESSAGES[error.code] ?? 'the text cannot be understood here'}`
}

/** `*` or `*.`, as no anchor is called, where a value or a key begins. */
const BARE_STAR = /(?:^|[\s[{,])\*(?:[.\s,\]}:]|$)/

/** In the line of the error, or in the one before: a key with its values below is found wrong only there. */
function bareStarMessage(text: string, { line }: Mark): string | undefined {
  const lines = text.split('\n', line).slice(Math.max(0, line - 2))
  if (!lines.some((one) => BARE_STAR.test(one))) return undefined
  return `not valid YAML: what begins with * is an alias; put a host pattern in quotes: '*.example.com'`
}

/** What `>>` appends to a file that ends with a line `...` (see `end_marker`) is a document of its own to YAML. */
function behindEndMessage(error: YAMLError, text: string, { line }: Mark): string | undefined {
  if (error.code !== 'MULTIPLE_DOCS' || !text.split('\n', line - 1).includes('...')) return undefined
  return 'not valid YAML: text follows the line "..." that ends the file; write it above that line'
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
    isEmpty: false,
    endsExplicitly: false,
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
