import { isDeepStrictEqual } from 'node:util'
import { compileOverruled } from '../../base/net/host-pattern-index.js'
import type { Layer, LayerValues } from '../layers/layer.js'
import { completeSecret, type Merged } from '../layers/merge.js'
import { orderProblems, type Problem } from '../yaml/problem.js'
import { allHave, ruledValues, ruleTree, treeBelow, type RuleTree } from './rule-tree.js'
import { narrowEgress } from './workspace-egress.js'
import { narrowPolicy } from './workspace-policy.js'
import { WORKSPACE_RULES } from './workspace-table.js'
import { quoteOption, type KeyPath } from '../yaml/yaml-document.js'

interface WorkspaceLimits {
  readonly operator: Layer | undefined
  /** The operator's file over the default. */
  readonly inForce: Merged
}

interface RestrictedWorkspace {
  /** What goes before the operator's own values, because it only narrows them. */
  readonly narrowing: readonly Layer[]
  /** What counts where the operator says nothing. */
  readonly tuning: Layer
  readonly problems: readonly Problem[]
}

/** What is taken or refused as a whole: a key of a section, a header rule, a secret, or the list of rules. */
interface Unit {
  readonly path: readonly [string] | readonly [string, string]
  readonly value: unknown
  /** What is in force; undefined where nothing is. */
  readonly current: unknown
}

/**
 * What remains of a workspace's file, which comes with a repository somebody else may have written. Saying
 * again what is in force anyway is always fine: people copy whole files. Each key that may not be said is
 * dropped, with the reason; so is each for which `WORKSPACE_RULES` has no rule.
 */
export function restrictWorkspace(workspace: Layer, limits: WorkspaceLimits): RestrictedWorkspace {
  const problems: Problem[] = []
  const refuse: Refuse = (path, reason) => problems.push(refusal(workspace, path, reason))
  const refusalOf = unitRefusals(limits)
  const tuning: Unit[] = []
  const narrowing: Unit[] = []
  for (const unit of unitsOf(workspace.values, limits.inForce)) {
    const refused = isDeepStrictEqual(unit.value, unit.current) ? undefined : refusalOf(unit)
    if (refused !== undefined) refuse(...refused)
    else if (allHave('tunes', treeOf(unit))) tuning.push(unit)
    else if (allHave('narrows', treeOf(unit))) narrowing.push(unit)
  }
  const strict = { ...workspace, values: valuesOf(narrowing) }
  return {
    narrowing: [narrowPolicy(strict, limits.inForce, refuse), narrowEgress(strict, limits.inForce, refuse)],
    tuning: { ...workspace, values: valuesOf(tuning) },
    problems: orderProblems(problems),
  }
}

/** Reports why the value at a path is not used. */
type Refuse = (path: KeyPath, reason: string) => void

const LOCKED = 'the operator has locked it'

const RULES = ruleTree(WORKSPACE_RULES)

function treeOf({ path }: Unit): RuleTree | undefined {
  return path.reduce((tree: RuleTree | undefined, key) => tree && treeBelow(tree, key), RULES)
}

/** Each is compared with what is in force in the form that this has. */
function unitsOf(values: LayerValues, { config }: Merged): Unit[] {
  return Object.entries(values).flatMap(([section, said]: [string, unknown]): Unit[] => {
    if (section === 'locks') return [{ path: [section], value: said, current: [] }]
    const current: unknown = new Map<string, unknown>(Object.entries(config)).get(section)
    if (typeof said !== 'object' || said === null || Array.isArray(said))
      return [{ path: [section], value: said, current }]
    const inForce = new Map<string, unknown>(Object.entries(current ?? {}))
    return Object.entries(said).map(([key, value]: [string, unknown]) => ({
      path: [section, key],
      value: completed(section, key, value),
      current: inForce.get(key),
    }))
  })
}

function completed(section: string, key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (section === 'headers') return { set: {}, append: {}, conditions: [], insecure: false, ...value }
  return section === 'secrets' ? completeSecret(key, value) : value
}

function valuesOf(units: readonly Unit[]): LayerValues {
  const whole = new Map<string, unknown>()
  const sections = new Map<string, Map<string, unknown>>()
  for (const { path, value } of units) {
    const [section, key] = path
    if (key === undefined) {
      whole.set(section, value)
      continue
    }
    const values = sections.get(section) ?? new Map<string, unknown>()
    sections.set(section, values.set(key, value))
  }
  for (const [section, values] of sections) whole.set(section, Object.fromEntries(values))
  return Object.fromEntries(whole)
}

/** What finds the reason why a unit that changes something is not used, and the place to point at. */
function unitRefusals({ operator }: WorkspaceLimits): (unit: Unit) => readonly [KeyPath, string] | undefined {
  const locks = new Set(operator?.values.locks)
  const overruledBy = compileOverruled(Object.keys(operator?.values.headers ?? {}))
  return (unit) => {
    const { path, value, current } = unit
    const [section, key = ''] = path
    if (locks.has(section) || locks.has(`${section}.${key}`)) return [path, LOCKED]
    const overruled = section === 'headers' ? overruledBy(key) : undefined
    if (overruled !== undefined)
      return [path, `the operator has a rule for "${overruled}", which this one would replace`]
    for (const { path: place, value: part, rule } of ruledValues(treeOf(unit), path, value)) {
      if (rule === undefined) return [path, `a workspace's file may not set ${quoteOption(place)}`]
      const reason = rule.refusal(part, partOf(current, place.slice(path.length)))
      if (reason !== undefined) return [section === 'headers' ? place : path, reason]
    }
    return undefined
  }
}

function partOf(value: unknown, path: KeyPath): unknown {
  return path.reduce((at: unknown, key) => {
    if (typeof at !== 'object' || at === null) return undefined
    return new Map<string, unknown>(Object.entries(at)).get(String(key))
  }, value)
}

function refusal(workspace: Layer, path: KeyPath, reason: string): Problem {
  const [origin] = workspace.originsOf(path)
  const message = `option ${quoteOption(path)} is refused: ${reason}`
  if (origin === undefined) return { kind: 'refused', file: 'workspace', message }
  return { kind: 'refused', file: origin.file, mark: { line: origin.line, col: origin.col }, message }
}
