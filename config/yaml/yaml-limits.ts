import { yamlPackage } from './yaml-package.js'

/** Deeper than any configuration; `headers.HOST.conditions[0].equals` is five levels. */
const MAX_FLOW_DEPTH = 16
const MAX_INDENT_COLUMNS = 64
/** `- - - ? &a !b` on one line: each is a level, or a property of one. */
const MAX_INDICATORS_IN_LINE = 16
/** Aliases too: each may stand for a large part of the document. */
const MAX_ANCHORS_AND_TAGS = 100

/** Why a text is not given to the parser, and where. */
interface LimitBreach {
  readonly offset: number
  readonly reason: string
}

/**
 * Whether `text` stays within limits that make parsing it safe. The `yaml` package composes recursively
 * and relies on catching the overflow of the stack; with Node 20, when that happens inside the compilation
 * of one of its regular expressions, the whole process is aborted. It is also quadratic in the number of
 * properties of a node. Its lexer yields token by token, so it can be stopped before either happens.
 */
export function breachOfLimits(text: string): LimitBreach | undefined {
  // Also keeps the lexer's own control tokens out of the text. C0 controls are not YAML (1.2.2 section 5.1).
  const control = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.exec(text)
  if (control !== null) return { offset: control.index, reason: 'a control character is not allowed' }
  const { CST, Lexer } = yamlPackage()
  // Tokens the lexer adds that are not in the text.
  const controlTokens: ReadonlySet<string> = new Set([CST.DOCUMENT, CST.FLOW_END, CST.SCALAR])
  const count = { flow: 0, inLine: 0, properties: 0 }
  let offset = 0
  let isLineStart = true
  let isScalarText = false
  for (const token of new Lexer().lex(text)) {
    const type: string | null = isScalarText ? 'scalar-text' : CST.tokenType(token)
    isScalarText = type === 'scalar'
    if (type === 'newline' || type === 'doc-start') count.inLine = 0
    if (type === 'flow-map-start' || type === 'flow-seq-start') count.flow++
    if (type === 'flow-map-end' || type === 'flow-seq-end') count.flow--
    if (count.flow === 0 && isLevel(type)) count.inLine++
    if (type === 'anchor' || type === 'tag' || type === 'alias') count.properties++
    const isIndent = type === 'space' && isLineStart && count.flow === 0
    if (isIndent && token.length > MAX_INDENT_COLUMNS) return { offset, reason: 'it is nested too deeply' }
    if (count.flow > MAX_FLOW_DEPTH || count.inLine > MAX_INDICATORS_IN_LINE) {
      return { offset, reason: 'it is nested too deeply' }
    }
    if (count.properties > MAX_ANCHORS_AND_TAGS) {
      return { offset, reason: `more than ${MAX_ANCHORS_AND_TAGS} anchors, aliases and tags` }
    }
    isLineStart = token.endsWith('\n')
    if (!controlTokens.has(token)) offset += token.length
  }
  return undefined
}

function isLevel(type: string | null): boolean {
  return type === 'seq-item-ind' || type === 'explicit-key-ind' || type === 'map-value-ind'
}
