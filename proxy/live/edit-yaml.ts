import { isDeepStrictEqual } from 'node:util'
import { isMap, isNode, isScalar, isSeq, parseDocument, type Document, type Node } from 'yaml'
import { readYaml } from '../../config/yaml/yaml-document.js'
import { isObject } from './merge-patch.js'

/**
 * `text`, a YAML document without mistakes, made to say `value`: what says so already stays as it is written, with
 * its comments and in its order. Undefined where anchors and aliases stand in the way.
 */
export function editYaml(text: string, value: unknown): string | undefined {
  const document = parseDocument(text, { uniqueKeys: false, stringKeys: true })
  let written: string
  try {
    document.contents = edited(document.contents, value, document) as typeof document.contents
    if (isObject(value) && value['end_marker'] === true && document.directives)
      document.directives.docEnd = true
    // Lines are not folded: a value that goes on in the next line is hard to compare.
    written = document.toString({ lineWidth: 0 })
  } catch {
    // An alias whose anchor went away.
    return undefined
  }
  return isDeepStrictEqual(readYaml(written).value, value) ? written : undefined
}

function edited(node: unknown, value: unknown, document: Document): Node {
  if (isMap(node) && isObject(value)) {
    node.items = node.items.filter(({ key }) => Object.hasOwn(value, nameOf(key)))
    const written = new Map(node.items.map((pair) => [nameOf(pair.key), pair]))
    for (const [name, part] of Object.entries(value)) {
      const pair = written.get(name)
      if (pair === undefined) node.items.push(document.createPair(name, part))
      else pair.value = edited(pair.value, part, document)
    }
    return node
  }
  if (isSeq(node) && Array.isArray(value)) {
    // By what they say: a list may have 40,000 entries.
    const left = new Map<string, unknown[]>()
    for (const item of node.items) {
      const said = JSON.stringify(plain(item, document))
      left.set(said, [...(left.get(said) ?? []), item])
    }
    node.items = value.map(
      (part: unknown) => left.get(JSON.stringify(part))?.shift() ?? document.createNode(part),
    )
    return node
  }
  if (isNode(node) && isDeepStrictEqual(plain(node, document), value)) return node
  const fresh = document.createNode(value)
  if (isNode(node)) {
    fresh.commentBefore = node.commentBefore ?? null
    fresh.comment = node.comment ?? null
  }
  // The quotes somebody chose.
  if (isScalar(node) && isScalar(fresh) && typeof fresh.value === 'string') {
    if (node.type === 'QUOTE_SINGLE' || node.type === 'QUOTE_DOUBLE') fresh.type = node.type
  }
  return fresh
}

function nameOf(key: unknown): string {
  return isScalar(key) ? String(key.value) : ''
}

function plain(node: unknown, document: Document): unknown {
  return isNode(node) ? node.toJS(document) : undefined
}
