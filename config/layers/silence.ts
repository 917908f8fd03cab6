import { isMappingPlace } from './document-shape.js'
import type { Complaint } from '../yaml/problem.js'
import { quoteOption, type KeyPath, type YamlDocument } from '../yaml/yaml-document.js'

// A full disk, a save in two steps or a truncated copy leave a file that says less than was meant. What it would have
// narrowed is wide open then, so nothing is taken for "everything by default" unless it is written out: {}.

/** What an operator's file leaves unsaid: the whole, or what is below a key. */
export function silenceComplaints(value: unknown, document: YamlDocument): readonly Complaint[] {
  if (document.isEmpty)
    return [{ mark: document.valueMark([]), message: 'it says nothing; write {} if nothing is meant' }]
  const complaints: Complaint[] = []
  const visit = (part: unknown, path: KeyPath): void => {
    if (part === null && path.length > 0 && isMappingPlace(path)) {
      const message = `option ${quoteOption(path)} says nothing; write {} if nothing is meant, or remove the key`
      complaints.push({ mark: document.keyMark(path), message })
    }
    if (typeof part !== 'object' || part === null) return
    const entries: Iterable<readonly [string | number, unknown]> = Array.isArray(part)
      ? part.entries()
      : Object.entries(part)
    for (const [key, below] of entries) visit(below, [...path, key])
  }
  visit(value, [])
  return complaints
}

/** A file that says it ends with a mark, and does not: it was cut off, maybe behind a line that is whole. */
export function endComplaints(document: YamlDocument): readonly Complaint[] {
  const { value } = document
  const isMarked =
    typeof value === 'object' && value !== null && 'end_marker' in value && value.end_marker === true
  if (!isMarked || document.endsExplicitly) return []
  const message = 'option "end_marker": the file does not end with a line "..."; it may have been cut off'
  return [{ mark: document.keyMark(['end_marker']), message }]
}
