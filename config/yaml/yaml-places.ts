import { keyOf, START, type KeyPath, type ParsedYaml } from './parsed-yaml.js'
import type { Mark } from './problem.js'

/**
 * Where a value is written, and what is in it. A tree, not a list of whole paths: a file whose keys are long and nested
 * would take a gigabyte as that.
 */
export interface YamlPlace {
  readonly value: Mark
  /** Absent for the items of a list, and the whole. */
  readonly key: Mark | undefined
  readonly below: ReadonlyMap<string | number, YamlPlace>
}

/** Where a key is written, or the nearest one above it that is. */
export function keyMarkIn(root: YamlPlace, path: KeyPath): Mark {
  return nearest(root, path, ({ key }) => key)
}

export function valueMarkIn(root: YamlPlace, path: KeyPath): Mark {
  return nearest(root, path, ({ value }) => value)
}

function nearest(root: YamlPlace, path: KeyPath, markOf: (place: YamlPlace) => Mark | undefined): Mark {
  let at: YamlPlace | undefined = root
  let mark = START
  for (const key of path) {
    at = at.below.get(key)
    if (at === undefined) break
    mark = markOf(at) ?? mark
  }
  return mark
}

/** In the form that can be kept. */
export function marksOf(root: YamlPlace): Pick<ParsedYaml, 'keyMarks' | 'valueMarks'> {
  const keyMarks: Record<string, Mark> = {}
  const valueMarks: Record<string, Mark> = {}
  const visit = (place: YamlPlace, path: KeyPath): void => {
    if (place.key !== undefined) keyMarks[keyOf(path)] = place.key
    valueMarks[keyOf(path)] = place.value
    for (const [key, part] of place.below) visit(part, [...path, key])
  }
  visit(root, [])
  return { keyMarks, valueMarks }
}
