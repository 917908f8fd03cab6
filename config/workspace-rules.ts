import { basename, dirname } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Config, HeaderRule } from './config.js'
import { parseHostPattern } from './host-pattern.js'
import { patternOverrules } from './host-pattern-order.js'
import { parseIpAddress } from './ip-address.js'
import type { Layer, LayerValues, SectionName } from './layer.js'
import { completeSecret, type Merged } from './merge.js'
import { dataPaths, isWithin, LOOPBACK } from './paths.js'
import { orderProblems, type Problem } from './problem.js'
import { narrowEgress } from './workspace-egress.js'
import { narrowPolicy } from './workspace-policy.js'
import { quoteOption, type KeyPath } from './yaml-document.js'

export interface WorkspaceLimits {
  readonly operator: Layer | undefined
  /** The operator's file over the default. */
  readonly inForce: Merged
  /** Absolute. */
  readonly dataDir: string
}

export interface RestrictedWorkspace {
  /** What goes before the operator's own values, because it only narrows them. */
  readonly narrowing: readonly Layer[]
  /** What counts where the operator says nothing. */
  readonly tuning: Layer
  readonly problems: readonly Problem[]
}

/**
 * What remains of a workspace's file, which comes with a repository somebody else may have written. Saying
 * again what is in force anyway is always fine: people copy whole files. Each key that may not be said is
 * dropped, with the reason.
 */
export function restrictWorkspace(workspace: Layer, limits: WorkspaceLimits): RestrictedWorkspace {
  const problems: Problem[] = []
  const refuse: Refuse = (path, reason) => problems.push(refusal(workspace, path, reason))
  const locks = limits.operator?.values.locks ?? []
  const isLocked = (section: string, key: string): boolean =>
    locks.includes(section) || locks.includes(`${section}.${key}`)
  const refusals = refusalsByOption(workspace.values, limits)

  const isKept = (section: SectionName, key: string, value: unknown): boolean => {
    const current = new Map<string, unknown>(Object.entries(limits.inForce.config[section])).get(key)
    if (isDeepStrictEqual(value, current)) return true
    const reason = isLocked(section, key) ? LOCKED : refusals[`${section}.${key}`]?.()
    if (reason !== undefined) refuse([section, key], reason)
    return reason === undefined
  }

  const { headers, secrets, rules: accessRules, locks: ownLocks, ...sections } = workspace.values
  for (const [name, secret] of Object.entries(secrets ?? {})) {
    if (isDeepStrictEqual(completeSecret(name, secret), limits.inForce.config.secrets[name])) continue
    refuse(['secrets', name], "only the operator's file may say where secrets come from and go")
  }
  if (ownLocks !== undefined && ownLocks.length > 0)
    refuse(['locks'], "only the operator's file may lock keys")
  const kept: LayerValues = Object.fromEntries(
    Object.entries(sections).map(([section, values]) => [
      section,
      Object.fromEntries(
        Object.entries(values).filter(([key, value]) => isKept(section as SectionName, key, value)),
      ),
    ]),
  )
  const rules = Object.entries(headers ?? {}).filter(([pattern, rule]) => {
    const current = limits.inForce.config.headers[pattern]
    const complete = { set: {}, append: {}, conditions: [], insecure: false, ...rule }
    if (isDeepStrictEqual(complete, current)) return true
    const [path, reason] = locks.includes('headers')
      ? [['headers', pattern], LOCKED]
      : (headerRefusal(pattern, rule, limits.operator) ?? [])
    if (path !== undefined && reason !== undefined) refuse(path, reason)
    return reason === undefined
  })
  const isSaidAgain = isDeepStrictEqual(accessRules, limits.inForce.config.rules)
  const rulesLocked = accessRules !== undefined && locks.includes('rules') && !isSaidAgain
  if (rulesLocked) refuse(['rules'], LOCKED)
  const strict = {
    ...workspace,
    values: { ...kept, ...(accessRules !== undefined && !rulesLocked && { rules: accessRules }) },
  }
  const narrowing = [
    narrowPolicy(strict, limits.inForce, refuse),
    narrowEgress(strict, limits.inForce, refuse),
  ]
  // Its lists reach the policy only by way of `narrowing`.
  const { allowlist: _allowlist, blocklist: _blocklist, policy: _policy, egress: _egress, ...others } = kept
  const tuning = { values: { ...others, headers: Object.fromEntries(rules) }, originsOf: workspace.originsOf }
  return { narrowing, tuning, problems: orderProblems(problems) }
}

/** Reports why the value at a path is not used. */
type Refuse = (path: KeyPath, reason: string) => void

const LOCKED = 'the operator has locked it'

function refusal(workspace: Layer, path: KeyPath, reason: string): Problem {
  const [origin] = workspace.originsOf(path)
  const message = `option ${quoteOption(path)} is refused: ${reason}`
  if (origin === undefined) return { kind: 'refused', file: 'workspace', message }
  return { kind: 'refused', file: origin.file, mark: { line: origin.line, col: origin.col }, message }
}

/** Option → why its value may not be changed to this one, if it may not. What is not here may be. */
function refusalsByOption(
  values: LayerValues,
  { inForce: { config }, dataDir }: WorkspaceLimits,
): Readonly<Record<string, () => string | undefined>> {
  const portReason = (port: number) => (): string =>
    `the container's processes are told to use port ${port}; a workspace may not change it`
  const wayReason = (): string => 'a workspace may not say by which way traffic goes'
  const tlsReason = (): string => 'a workspace may not change how TLS is opened or trusted'
  return {
    'proxy.port': portReason(config.proxy.port),
    'proxy.api_port': portReason(config.proxy.api_port),
    'proxy.host': () => hostRefusal(values.proxy?.host ?? []),
    'proxy.auth': () => 'a workspace may not say who may use the proxy',
    'upstream_proxy.url': wayReason,
    'upstream_proxy.no_proxy': wayReason,
    'upstream_proxy.resolve': wayReason,
    'tls.cert_dir': tlsReason,
    'tls.passthrough': tlsReason,
    'tls.upstream_ca': tlsReason,
    'cache.dir': () => {
      if (isWithin(values.cache?.dir ?? '', config.cache.dir)) return undefined
      return `a workspace may only choose a folder below ${config.cache.dir}`
    },
    'cache.apart': () => 'a workspace may not say what is shared with others',
    'cache.memory': () => {
      if ((values.cache?.memory ?? 0) <= config.cache.memory) return undefined
      return `a workspace may only choose less than ${config.cache.memory} bytes`
    },
    'cache.min_free': () => {
      if ((values.cache?.min_free ?? 0) >= config.cache.min_free) return undefined
      return `a workspace may only choose more than ${config.cache.min_free} bytes`
    },
    ...Object.fromEntries(
      (['connect', 'headers', 'idle', 'keep_alive'] as const).map((key) => [
        `timeouts.${key}`,
        (): string | undefined => {
          if ((values.timeouts?.[key] ?? 0) <= config.timeouts[key]) return undefined
          return `a workspace may only choose less than ${config.timeouts[key] / 1000}s`
        },
      ]),
    ),
    ...Object.fromEntries(
      Object.entries(values.limits ?? {}).map(([key, value]) => [
        `limits.${key}`,
        (): string | undefined => {
          const most = config.limits[key as keyof Config['limits']]
          return value <= most ? undefined : `a workspace may only choose less than ${most}`
        },
      ]),
    ),
    'logging.file': () => logFileRefusal(values.logging?.file ?? '', dataDir),
    'policy.mode': () =>
      values.policy?.mode === 'enforce' ? undefined : 'the operator has lists and rules enforced',
    'egress.private': () =>
      values.egress?.private === 'deny' ? undefined : 'the operator denies private addresses',
    'egress.own_ports': () => "a workspace may not open this machine's ports to others",
    'allowlist.enabled': () => {
      if (!config.allowlist.enabled) return undefined
      return 'the operator restricts where traffic may go; a workspace may not lift that'
    },
  }
}

function hostRefusal(hosts: readonly string[]): string | undefined {
  if (!hosts.every(isLoopback)) return 'a workspace may only choose loopback addresses'
  return hosts.includes(LOOPBACK)
    ? undefined
    : `the container's processes use ${LOOPBACK}, which is not in it`
}

function isLoopback(host: string): boolean {
  const address = parseIpAddress(host)
  return address !== undefined && (address.family === 4 ? address.bits >> 24n === 127n : address.bits === 1n)
}

/** Elsewhere in the data dir are keys, tokens and cached bodies, which appending to would break. */
function logFileRefusal(file: string, dataDir: string): string | undefined {
  const { proxyDir } = dataPaths(dataDir)
  if (file === '' || (dirname(file) === proxyDir && basename(file).endsWith('.log'))) return undefined
  return `a workspace may only choose a file named ${proxyDir}/NAME.log`
}

function headerRefusal(
  pattern: string,
  rule: Partial<HeaderRule>,
  operator: Layer | undefined,
): readonly [KeyPath, string] | undefined {
  for (const operators of Object.keys(operator?.values.headers ?? {})) {
    if (operators === pattern || overrules(pattern, operators)) {
      return [
        ['headers', pattern],
        `the operator has a rule for "${operators}", which this one would replace`,
      ]
    }
  }
  for (const [path, value] of valuesOf(pattern, rule)) {
    if (value.includes('${')) return [path, 'a workspace may not name secrets (${…}); this rule is not used']
  }
  return undefined
}

function overrules(rival: string, pattern: string): boolean {
  const [a, b] = [parseHostPattern(rival), parseHostPattern(pattern)]
  return typeof a === 'object' && typeof b === 'object' && patternOverrules(a, b)
}

function valuesOf(
  pattern: string,
  { set, append, conditions }: Partial<HeaderRule>,
): (readonly [KeyPath, string])[] {
  const below = (action: string, fields: Readonly<Record<string, string>> = {}): [KeyPath, string][] =>
    Object.entries(fields).map(([header, value]) => [['headers', pattern, action, header], value])
  const compared = (conditions ?? []).map(
    ({ equals }, index) => [['headers', pattern, 'conditions', index, 'equals'], equals] as const,
  )
  return [...below('set', set), ...below('append', append), ...compared]
}
