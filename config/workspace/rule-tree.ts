import type { WorkspaceRule } from './workspace-rule.js'
import type { KeyPath } from '../yaml/yaml-document.js'

/** The rules of a place in a file and of all below it. */
export interface RuleTree {
  /** Of the value at this place. */
  readonly rule: WorkspaceRule | undefined
  /** By key; `*` stands for the names somebody chooses, `[]` for the items of a list. */
  readonly below: ReadonlyMap<string, RuleTree>
}

interface Growing extends RuleTree {
  rule: WorkspaceRule | undefined
  readonly below: Map<string, Growing>
}

/** @param rules by dotted name, as `LeafName` has it. */
export function ruleTree(rules: Readonly<Record<string, WorkspaceRule>>): RuleTree {
  const root: Growing = { rule: undefined, below: new Map() }
  for (const [name, rule] of Object.entries(rules)) {
    let at = root
    for (const step of name.replaceAll('[]', '.[]').split('.')) {
      const next = at.below.get(step) ?? { rule: undefined, below: new Map<string, Growing>() }
      at.below.set(step, next)
      at = next
    }
    at.rule = rule
  }
  return root
}

/** The tree of a key; undefined where there is no rule for it or anything below it. */
export function treeBelow(tree: RuleTree, key: string | number): RuleTree | undefined {
  return tree.below.get(typeof key === 'number' ? '[]' : key) ?? tree.below.get('*')
}

/** A value that a file sets, and the rule for it. */
interface RuledValue {
  readonly path: KeyPath
  readonly value: unknown
  readonly rule: WorkspaceRule | undefined
}

/** Each value below `path`. What is at a place without a rule is told as a whole. */
export function* ruledValues(
  tree: RuleTree | undefined,
  path: KeyPath,
  value: unknown,
): Generator<RuledValue> {
  if (tree === undefined || tree.rule !== undefined || typeof value !== 'object' || value === null) {
    yield { path, value, rule: tree?.rule }
    return
  }
  const parts: Iterable<readonly [string | number, unknown]> = Array.isArray(value)
    ? value.entries()
    : Object.entries(value)
  for (const [key, part] of parts) yield* ruledValues(treeBelow(tree, key), [...path, key], part)
}

/** Whether there are rules here, and all of them have this effect. */
export function allHave(effect: WorkspaceRule['effect'], tree: RuleTree | undefined): boolean {
  if (tree === undefined) return false
  if (tree.rule !== undefined) return tree.rule.effect === effect
  return tree.below.size > 0 && [...tree.below.values()].every((part) => allHave(effect, part))
}
