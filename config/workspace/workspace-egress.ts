import type { AccessRule, EgressSection } from '../model/config.js'
import { compileIpCover } from '../../base/net/ip-set.js'
import type { Layer, Origin } from '../layers/layer.js'
import type { Merged } from '../layers/merge.js'
import { MAX_RULES } from '../schema/access.js'
import type { KeyPath } from '../yaml/yaml-document.js'

/**
 * The part of a workspace's `rules`, `policy` and `egress` that makes the operator's stricter:
 *
 * - rules: those that block are added to the operator's; those that allow only where the workspace itself
 *   enables the allowlist, since they are entries of it
 * - policy.mode: `enforce`
 * - egress.private: `deny`; egress.dns: `refuse`; egress.block: added to the operator's
 * - egress.allow and connect_ports: as far as the operator's cover them, where the operator has any. What is
 *   left empty by that is not used: it would mean "any".
 *
 * What is in force anyway may be said again.
 */
export function narrowEgress(
  workspace: Layer,
  inForce: Merged,
  refuse: (path: KeyPath, reason: string) => void,
): Layer {
  const { egress, policy, rules } = workspace.values
  const { config } = inForce
  const origins = new Map<string, readonly Origin[]>()
  /** Remembers where a value was written, and where each item of a list was. */
  const from = (path: KeyPath, items: readonly (readonly Origin[])[] = []): void => {
    origins.set(JSON.stringify(path), workspace.originsOf(path))
    items.forEach((item, index) => origins.set(JSON.stringify([...path, index]), item))
  }
  const cutDown = <K extends 'allow' | 'connect_ports'>(
    key: K,
    covered: (outer: EgressSection[K]) => (inner: EgressSection[K][number]) => boolean,
  ): readonly EgressSection[K][number][] | undefined => {
    const outer = config.egress[key]
    const isCovered = covered(outer)
    const kept: EgressSection[K][number][] = []
    const keptOrigins: (readonly Origin[])[] = []
    for (const [index, entry] of (egress?.[key] ?? []).entries()) {
      const path = ['egress', key, index]
      if (outer.length > 0 && !isCovered(entry)) {
        refuse(path, `"${entry}" is not covered by the operator's egress.${key}`)
        continue
      }
      kept.push(entry)
      keptOrigins.push(workspace.originsOf(path))
    }
    if (kept.length === 0) return undefined
    from(['egress', key], keptOrigins)
    return kept
  }
  const allow = cutDown('allow', compileIpCover)
  const ports = cutDown('connect_ports', (outer) => {
    const among = new Set(outer)
    return (port) => among.has(port)
  })
  if (egress?.private === 'deny') from(['egress', 'private'])
  if (egress?.dns === 'refuse') from(['egress', 'dns'])
  if (policy?.mode === 'enforce') from(['policy', 'mode'])
  const joined = <T>(path: KeyPath, present: readonly T[], added: readonly (readonly [T, number])[]): T[] => {
    from(path, [
      ...present.map((_, index) => inForce.originsOf([...path, index])),
      ...added.map(([, index]) => workspace.originsOf([...path, index])),
    ])
    origins.set(JSON.stringify(path), [
      ...(present.length > 0 ? inForce.originsOf(path) : []),
      ...workspace.originsOf(path),
    ])
    return [...present, ...added.map(([value]) => value)]
  }
  const blocked = new Set(config.egress.block)
  const block = (egress?.block ?? [])
    .map((entry, index) => [entry, index] as const)
    .filter(([entry]) => !blocked.has(entry))
  const addedRules = acceptableRules(rules ?? [], workspace, inForce, refuse)
  return {
    values: {
      ...(addedRules.length > 0 && { rules: joined(['rules'], config.rules, addedRules) }),
      policy: { ...(policy?.mode === 'enforce' && { mode: 'enforce' }) },
      egress: {
        ...(egress?.private === 'deny' && { private: 'deny' }),
        ...(egress?.dns === 'refuse' && { dns: 'refuse' }),
        ...(ports && { connect_ports: ports }),
        ...(allow && { allow }),
        ...(block.length > 0 && { block: joined(['egress', 'block'], config.egress.block, block) }),
      },
    },
    originsOf: (path) => origins.get(JSON.stringify(path)) ?? [],
  }
}

function acceptableRules(
  rules: readonly AccessRule[],
  workspace: Layer,
  { config }: Merged,
  refuse: (path: KeyPath, reason: string) => void,
): readonly (readonly [AccessRule, number])[] {
  const inForce = new Set(config.rules.map((rule) => spelling(rule)))
  const ownAllowlist = !config.allowlist.enabled && workspace.values.allowlist?.enabled === true
  const room = MAX_RULES - config.rules.length
  const kept: (readonly [AccessRule, number])[] = []
  for (const [index, rule] of rules.entries()) {
    if (inForce.has(spelling(rule))) continue
    if (rule.action === 'allow' && !ownAllowlist) {
      refuse(
        ['rules', index],
        'a workspace may add rules that allow only to an allowlist that it enables itself',
      )
    } else if (kept.length >= room) {
      refuse(['rules', index], `with the operator's there would be more than ${MAX_RULES} rules`)
    } else {
      kept.push([rule, index])
    }
  }
  return kept
}

function spelling({ name, action, hosts, methods, paths, ports }: AccessRule): string {
  return JSON.stringify([name, action, hosts, methods, paths, ports])
}
