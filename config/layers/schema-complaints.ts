import type * as v from 'valibot'
import type { ShapedDocument } from './document-shape.js'
import { nearestName } from '../../base/nearest-name.js'
import type { Complaint } from '../yaml/problem.js'
import { knownKeys, LEAF_NAMES, MAX_LOCKS, type fileSchema } from '../schema/file.js'
import { quoteOption, type KeyPath, type YamlDocument } from '../yaml/yaml-document.js'

/** One complaint for each key at most: the first is the cause of the others. */
export function issueComplaints(
  issues: readonly v.InferIssue<typeof fileSchema>[],
  document: YamlDocument,
): readonly Complaint[] {
  const byPlace = new Map<string, Complaint>()
  for (const issue of issues) {
    const path = (issue.path ?? []).map((item) =>
      typeof item.key === 'number' ? item.key : String(item.key),
    )
    const place = JSON.stringify(path)
    if (!byPlace.has(place)) byPlace.set(place, issueComplaint(issue, path, document))
  }
  return [...byPlace.values()]
}

function issueComplaint(
  issue: v.InferIssue<typeof fileSchema>,
  path: KeyPath,
  document: YamlDocument,
): Complaint {
  const option = quoteOption(path)
  if (issue.type === 'strict_object' && issue.received === 'undefined') {
    return { mark: document.valueMark(path.slice(0, -1)), message: `option ${option} is missing` }
  }
  if (issue.path?.at(-1)?.origin === 'key') {
    return { mark: document.keyMark(path), message: `option ${option}: the name ${issue.message}` }
  }
  const mark = document.valueMark(path)
  if (path.length === 0) return { mark, message: `the file ${issue.message}` }
  if (issue.input === null)
    return { mark, message: `option ${option} has no value; write one, or remove the key` }
  return { mark, message: `option ${option}: ${describe(issue.input, path)} ${issue.message}` }
}

/** For keys that are unknown, lists where a mapping belongs, and lists that are too long. */
export function shapeComplaints(shaped: ShapedDocument, document: YamlDocument): readonly Complaint[] {
  const unknown = shaped.unknownKeys.map((path) => ({
    mark: document.keyMark(path),
    message: unknownMessage(path),
  }))
  const misplaced = shaped.misplacedLists.map((path) => {
    const subject = path.length === 0 ? 'the file' : `option ${quoteOption(path)}: the value`
    return { mark: document.valueMark(path), message: `${subject} is a list; write a mapping, KEY: VALUE` }
  })
  const overlong = shaped.overlongLists.map((path) => ({
    mark: document.valueMark(path),
    message: `option ${quoteOption(path)}: the list has more than ${MAX_LOCKS} items`,
  }))
  return [...unknown, ...misplaced, ...overlong]
}

function unknownMessage(path: KeyPath): string {
  const name = String(path.at(-1))
  const known = knownKeys(path.slice(0, -1)) ?? []
  const elsewhere = LEAF_NAMES.find((leaf) => leaf.endsWith(`.${name}`))
  const meant = nearestName(name, known) ?? elsewhere
  const hint = meant === undefined ? `known here: ${known.join(', ')}` : `did you mean "${meant}"?`
  return `unknown option ${quoteOption(path)}; ${hint}`
}

/** Nothing below these is quoted: it is a secret more often than not. */
function describe(value: unknown, path: KeyPath): string {
  if (path[0] === 'headers' || path[0] === 'secrets' || path[1] === 'auth') return 'the value'
  if (path[0] === 'upstream_proxy' && path[1] === 'url') return 'the value'
  if (Array.isArray(value)) return 'the list'
  if (typeof value === 'number' || typeof value === 'boolean') return `value ${value}`
  if (typeof value !== 'string') return 'the mapping'
  return `value ${JSON.stringify(value.length > 80 ? `${value.slice(0, 79)}…` : value)}`
}
