import type { AccessRule } from '../../config/model/config.js'
import { compileHostPatterns } from '../../base/net/host-pattern.js'
import { isAddress } from '../../base/net/host-name.js'
import { compileIpSet, type IpSet } from '../../base/net/ip-set.js'
import { MAX_RULE_PATH_LENGTH, compileRulePath } from '../../config/model/rule-path.js'
import { pathReadings } from './path-readings.js'
import type { Target } from '../../base/net/target.js'

/**
 * What is asked for at a target.
 *
 * - `tunnel`: a way in, whose requests will each be judged
 * - `raw`: bytes that nobody looks into
 * - `request`: one request; `path` in origin form, with or without its query
 */
export type Asked =
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'raw' }
  | { readonly kind: 'request'; readonly method: string; readonly path: string }

/** `perhaps`: it depends on a method or path that is not known. */
export type RuleMatch = 'yes' | 'no' | 'perhaps'

export interface CompiledRule {
  readonly action: AccessRule['action']
  readonly index: number
  /** `rules[2] (its name)` */
  readonly label: string
  /** What it names besides hosts: `GET, POST on /v2/* at port 443`. */
  readonly scope: string
  /** The addresses among its hosts: a name must not be a way around a rule that blocks one of them. */
  readonly addresses: IpSet
  matchesHost(host: string): boolean
  /** Of method, path and port. */
  matchesRest(target: Target, asked: Asked): RuleMatch
}

/** @throws HostPatternError or SyntaxError for what the configuration should have refused. */
export function compileAccessRules(rules: readonly AccessRule[]): readonly CompiledRule[] {
  return rules.map((rule, index) => {
    const hosts = rule.hosts && compileHostPatterns(rule.hosts.map((pattern) => [pattern, pattern] as const))
    return {
      action: rule.action,
      index,
      label: rule.name === undefined ? `rules[${index}]` : `rules[${index}] (${rule.name})`,
      scope: scopeOf(rule),
      addresses: compileIpSet(rule.hosts?.filter(isAddress) ?? []),
      matchesHost: (host) => hosts?.matchesAny(host) ?? true,
      matchesRest: compileRest(rule),
    }
  })
}

function compileRest({ action, methods, paths, ports }: AccessRule): CompiledRule['matchesRest'] {
  const [methodSet, portSet] = [new Set(methods), new Set(ports)]
  const matchers = paths?.map(compileRulePath)
  const matchesMethod = (method: string): boolean =>
    methods === undefined || methodSet.has(method) || (method === 'HEAD' && methodSet.has('GET'))
  const matchesPath = (written: string): boolean => {
    if (matchers === undefined) return true
    const [path = ''] = written.split('?', 1)
    // What cannot be judged in bounded time is taken for the worse.
    if (path.length > MAX_RULE_PATH_LENGTH) return action === 'block'
    const fits = (reading: string): boolean => matchers.some((matches) => matches(reading))
    const readings = pathReadings(path)
    return action === 'block' ? readings.some(fits) : readings.every(fits)
  }
  return ({ port }, asked) => {
    if (ports !== undefined && !portSet.has(port)) return 'no'
    if (asked.kind !== 'request') return methods === undefined && paths === undefined ? 'yes' : 'perhaps'
    return matchesMethod(asked.method) && matchesPath(asked.path) ? 'yes' : 'no'
  }
}

function scopeOf({ methods, paths, ports }: AccessRule): string {
  const parts = [
    methods?.join(', '),
    paths && `${methods === undefined ? 'any method ' : ''}on ${paths.join(', ')}`,
    ports && `at port ${ports.join(', ')}`,
  ]
  return parts.filter((part) => part !== undefined).join(' ')
}
