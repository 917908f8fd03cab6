import type { KeyPath, YamlDocument } from '../yaml/parsed-yaml.js'
import type { Mark } from '../yaml/problem.js'

/** The option, as `sources` names it, that a value belongs to: the list of rules is one, however deep the path goes. */
export function optionOf([section, key]: KeyPath): string {
  return section === 'rules' ? 'rules' : `${section}.${key}`
}

/** Where a file writes a value; of a header rule or a secret, where it begins. */
export function placeIn(document: YamlDocument, path: KeyPath): Mark {
  const [section] = path
  const isEntry = path.length === 2 && (section === 'headers' || section === 'secrets')
  return isEntry ? document.keyMark(path) : document.valueMark(path)
}
