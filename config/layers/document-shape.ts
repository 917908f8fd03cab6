import { knownKeys, MAX_LOCKS } from '../schema/file.js'
import type { KeyPath } from '../yaml/yaml-document.js'

export interface ShapedDocument {
  /** What is left: valibot can check this value by value. */
  readonly value: unknown
  /** Lists that stand where the schema has a mapping; replaced by empty mappings. */
  readonly misplacedLists: readonly KeyPath[]
  /** Lists with more items than are worth checking one by one; replaced by empty ones. */
  readonly overlongLists: readonly KeyPath[]
  /** Keys the schema does not have; removed. */
  readonly unknownKeys: readonly KeyPath[]
}

/**
 * Takes out what does not fit the shape of the schema. valibot would tell only the first unknown key of a
 * mapping, and takes a list for a mapping: an empty one would pass unnoticed.
 */
export function shapeDocument(root: unknown): ShapedDocument {
  const misplacedLists: KeyPath[] = []
  const overlongLists: KeyPath[] = []
  const unknownKeys: KeyPath[] = []
  const visit = (value: unknown, path: KeyPath): unknown => {
    if (Array.isArray(value)) {
      if (path.length === 1 && path[0] === 'locks' && value.length > MAX_LOCKS) {
        overlongLists.push(path)
        return []
      }
      if (!isMappingPlace(path)) return value.map((item, index) => visit(item, [...path, index]))
      misplacedLists.push(path)
      return {}
    }
    if (typeof value !== 'object' || value === null) return value
    const known = isMappingPlace(path) ? knownKeys(path) : undefined
    const kept = Object.entries(value).filter(([key]) => {
      const isKnown = known?.includes(key) ?? true
      if (!isKnown) unknownKeys.push([...path, key])
      return isKnown
    })
    return Object.fromEntries(kept.map(([key, part]) => [key, visit(part, [...path, key])]))
  }
  return { value: visit(root, []), misplacedLists, overlongLists, unknownKeys }
}

/** Whether the schema has a mapping at `path`. */
export function isMappingPlace(path: KeyPath): boolean {
  const [section, key, action, part] = path
  if (section === 'cache' && key === 'rules')
    return path.length === 3 || (path.length === 4 && part === 'match')
  if (section === 'proxy' && key === 'auth') return path.length === 2
  if (section === 'cache' && key === 'apart') return path.length === 2
  switch (path.length) {
    case 0:
      return true
    case 1:
      return section !== 'locks' && section !== 'rules' && section !== 'end_marker'
    case 2:
      return section === 'headers' || section === 'rules' || section === 'secrets'
    case 3:
      return section === 'headers' && action !== 'conditions'
    case 4:
      return section === 'headers' && action === 'conditions'
    default:
      return false
  }
}
