import type { Config } from '../../config/model/config.js'
import { compileHostPatterns } from '../../base/net/host-pattern.js'
import type { Merged } from '../../config/layers/merge.js'
import { parseTemplate } from '../../config/model/secret-template.js'
import type { WrittenPlaces } from '../../config/layers/written-places.js'
import type { KeyPath } from '../../config/yaml/yaml-document.js'
import type { Asked } from '../policy/access-rules.js'
import { entryKey } from '../cache/rules/key.js'
import { PATTERNS_RULE } from '../cache/entry/meta.js'
import { compileRules } from '../cache/rules/rules.js'
import {
  ResolveError,
  createDialGuard,
  type DialGuardDeps,
  type JudgedAddress,
} from '../policy/route-guard.js'
import { optionName, type Finding } from '../policy/finding.js'
import { whyWithheld } from '../credentials/inject.js'
import { compileParentProxy } from '../upstream/parent-proxy.js'
import { Policy, type Verdict } from '../policy/policy.js'
import type { RequestTarget } from '../message/request-target.js'
import { Secrets, type WithheldSecrets } from '../credentials/secrets.js'
import type { Target } from '../../base/net/target.js'

/** A place in the configuration that decided something. */
export interface DecidedBy {
  /** `rules[2]` */
  readonly option: string
  /** The rule's own name. */
  readonly name?: string
  /** `file:line:col`; absent for what no file says. */
  readonly at?: string
  /** The same in the operator's or workspace's file, where `at` is in one that was put together of those. */
  readonly written?: readonly string[]
}

/** What the proxy would do with one request. Holds no header value of the configuration. */
export interface Explanation {
  readonly method: string
  /** In the one spelling everything is judged in. */
  readonly url: string
  /** `unresolved`: it depends on addresses, and the name has none. */
  readonly decision: 'allow' | 'block' | 'unresolved'
  readonly reason?: string
  readonly by: DecidedBy
  readonly mode: 'enforce' | 'observe'
  /** What `enforce` would say where the mode is `observe`. */
  readonly would_block?: DecidedBy & { readonly reason: string }
  /** How TLS is treated; `plain` without TLS. */
  readonly connection: 'intercept' | 'passthrough' | 'plain'
  /** By which way it would go: `direct`, or the upstream proxy without its credentials. */
  readonly way: string
  /** Absent when the request is blocked before its name is resolved. */
  readonly addresses?: readonly ExplainedAddress[]
  readonly resolve_error?: string
  /** What would be injected; absent where nothing would. */
  readonly headers?: ExplainedHeaders
  readonly cache: ExplainedCache
  /** Of the proxy that was asked; absent where a file was. */
  readonly in_force?: InForce
}

/** The configuration that a proxy goes by. */
export interface InForce {
  readonly from: 'file' | 'api' | 'default'
  readonly file?: string
  readonly revision: string
  /** Of the file as it is now, if it cannot be used. */
  readonly problems: readonly string[]
}

/** What is known besides the configuration. */
export interface ExplainDeps extends DialGuardDeps {
  readonly withheld?: WithheldSecrets | undefined
  /** Where the values of a configuration that was put together were written. */
  readonly places?: WrittenPlaces
}

export interface ExplainedAddress {
  readonly address: string
  /** Whether it is one of those that would be tried, in this order. */
  readonly dial: boolean
  readonly reason?: string
  readonly by?: DecidedBy
}

export interface ExplainedHeaders extends DecidedBy {
  /** Names only. */
  readonly set: readonly string[]
  readonly append: readonly string[]
  /** Headers the request must have with a value that is not shown. */
  readonly conditions: readonly string[]
  /** Why none of it is done for this request. */
  readonly withheld?: string
}

export type ExplainedCache =
  | { readonly cached: false; readonly why: string }
  /** If upstream's answer may be kept. */
  | { readonly cached: true; readonly key: string; readonly by: DecidedBy; readonly pattern: string }

/** Decides as the proxy would, asking nobody but the resolver. */
export async function explain(
  method: string,
  to: RequestTarget,
  merged: Merged,
  deps: ExplainDeps,
): Promise<Explanation> {
  const { config } = merged
  const { target, scheme, path } = to
  const policy = new Policy(config)
  const connection = scheme === 'http' ? 'plain' : policy.passesThrough(target) ? 'passthrough' : 'intercept'
  const verdict = judge(policy, method, to, connection)
  const decidedBy = (option: KeyPath): DecidedBy => placeOf(option, merged, deps.places)
  const common = {
    method,
    url: `${scheme}://${target.authority}${path}`,
    mode: config.policy.mode,
    connection,
    way: wayTo(target, config),
    cache: explainCache(method, to, connection, merged, decidedBy),
    ...(connection === 'passthrough' ? {} : explainHeaders(method, to, merged, decidedBy)),
  } as const
  if (verdict.action === 'block') {
    const { option, reason } = verdict.finding
    return { ...common, decision: 'block', reason, by: decidedBy(option) }
  }
  const found = await addressesOf(to, verdict, deps)
  if ('error' in found) {
    const decision = verdict.byAddress ? 'unresolved' : 'allow'
    return { ...common, decision, by: decidedBy(verdict.by), resolve_error: found.error }
  }
  const lacking = connection === 'passthrough' ? undefined : lackingSecret(method, to, merged, deps.withheld)
  if (lacking !== undefined && found.refused === undefined) {
    return { ...common, decision: 'block', reason: lacking.reason, by: decidedBy(lacking.option) }
  }
  const would = verdict.wouldBlock ?? found.wouldBlock
  const outcome =
    found.refused === undefined
      ? ({ decision: 'allow', by: decidedBy(verdict.by) } as const)
      : ({ decision: 'block', reason: found.refused.reason, by: decidedBy(found.refused.option) } as const)
  return {
    ...common,
    ...outcome,
    ...(would === undefined || outcome.decision === 'block'
      ? {}
      : { would_block: { ...decidedBy(would.option), reason: would.reason } }),
    addresses: found.all.map(({ address, verdict }) => ({
      address,
      dial: found.dialled.has(address),
      ...(verdict.action === 'allow'
        ? {}
        : { reason: verdict.finding.reason, by: decidedBy(verdict.finding.option) }),
    })),
  }
}

function wayTo(target: Target, { upstream_proxy }: Config): string {
  // No secret is needed to know the way.
  const parent = compileParentProxy(upstream_proxy, new Secrets(new Map()))
  return parent === undefined || parent.bypasses(target) ? 'direct' : parent.label
}

function judge(
  policy: Policy,
  method: string,
  { target, scheme, path }: RequestTarget,
  connection: Explanation['connection'],
): Verdict {
  const asked: Asked = connection === 'passthrough' ? { kind: 'raw' } : { kind: 'request', method, path }
  // https comes by way of CONNECT.
  const finding = scheme === 'https' ? policy.egress.tunnelPort(target.port) : undefined
  return finding === undefined ? policy.judge(target, asked) : { action: 'block', finding }
}

interface Addresses {
  readonly all: readonly JudgedAddress[]
  readonly dialled: ReadonlySet<string>
  readonly refused?: Finding
  readonly wouldBlock?: Finding
}

/** The very judgement of the proxy: its guard's, for a client of this machine. */
async function addressesOf(
  { target }: RequestTarget,
  verdict: Extract<Verdict, { action: 'allow' }>,
  deps: DialGuardDeps,
): Promise<Addresses | { readonly error: string }> {
  const guard = createDialGuard(deps)
  try {
    const all = await guard.judgeAll(target, verdict, false)
    const best = all.some((one) => one.verdict.action === 'allow') ? 'allow' : 'observe'
    const dialled = new Set(all.filter((one) => one.verdict.action === best).map(({ address }) => address))
    const [first] = all.flatMap((one) => (one.verdict.action === 'allow' ? [] : [one.verdict]))
    if (dialled.size === 0 && first !== undefined) return { all, dialled, refused: first.finding }
    const observed = all.flatMap((one) => (one.verdict.action === 'observe' ? [one.verdict.finding] : []))
    return { all, dialled, ...(best === 'observe' && observed[0] ? { wouldBlock: observed[0] } : {}) }
  } catch (error) {
    if (error instanceof ResolveError) return { error: error.message }
    throw error
  }
}

function explainHeaders(
  method: string,
  { target, scheme }: RequestTarget,
  merged: Merged,
  decidedBy: (option: KeyPath) => DecidedBy,
): { readonly headers?: ExplainedHeaders } {
  const best = compileHostPatterns(Object.entries(merged.config.headers)).best(target.host)
  if (best === undefined) return {}
  const { set, append, conditions, insecure } = best.value
  const withheld = whyWithheld(method, scheme, insecure)
  return {
    headers: {
      ...decidedBy(['headers', best.pattern]),
      set: Object.keys(set),
      append: Object.keys(append),
      conditions: conditions.map(({ header }) => header),
      ...(withheld === undefined ? {} : { withheld }),
    },
  }
}

function explainCache(
  method: string,
  { target, scheme, path }: RequestTarget,
  connection: Explanation['connection'],
  merged: Merged,
  decidedBy: (option: KeyPath) => DecidedBy,
): ExplainedCache {
  const { cache } = merged.config
  if (!cache.enabled) return { cached: false, why: 'cache.enabled is false' }
  if (connection === 'passthrough') return { cached: false, why: 'its TLS is not opened' }
  if (method !== 'GET' && method !== 'HEAD') return { cached: false, why: `${method} is never cached` }
  const question = path.indexOf('?')
  const [plain, query] = question === -1 ? [path, ''] : [path.slice(0, question), path.slice(question)]
  const { authority } = target
  const request = {
    ...{ method, scheme, authority, path: plain, query },
    header: () => undefined,
    fields: [],
  }
  const covering = compileRules(cache).find(request)
  if (covering === undefined)
    return { cached: false, why: 'none of cache.patterns and cache.rules matches it' }
  const key = entryKey(request, covering).text
  const { name } = covering.rule
  if (name !== PATTERNS_RULE) {
    const pattern = cache.rules.find((rule) => rule.name === name)?.match?.path ?? ''
    return { cached: true, key, by: { option: 'cache.rules', name }, pattern }
  }
  const index = cache.patterns.findIndex((pattern) => new RegExp(pattern).test(plain))
  const by = decidedBy(['cache', 'patterns', index])
  return { cached: true, key, by, pattern: cache.patterns[index] ?? '' }
}

/** The secret without which the request would not be sent on. */
function lackingSecret(
  method: string,
  { target, scheme }: RequestTarget,
  { config }: Merged,
  withheld: WithheldSecrets | undefined,
): Finding | undefined {
  const best = compileHostPatterns(Object.entries(config.headers)).best(target.host)
  if (withheld === undefined || best === undefined) return undefined
  const { set, append, conditions, insecure } = best.value
  // Of a request that is not known to meet them nothing can be said.
  if (conditions.length > 0 || whyWithheld(method, scheme, insecure) !== undefined) return undefined
  const values = [...Object.values(set), ...Object.values(append)]
  const name = withheld.names.find((secret) => values.some((value) => namesSecret(value, secret)))
  if (name === undefined) return undefined
  const reason = `it needs the secret ${name}, which is withheld, since ${withheld.reason}`
  return { option: ['headers', best.pattern], reason }
}

function namesSecret(value: string, secret: string): boolean {
  const parts = parseTemplate(value)
  return typeof parts !== 'string' && parts.some((part) => part.kind !== 'text' && part.name === secret)
}

function placeOf(option: KeyPath, { config, originsOf }: Merged, places: WrittenPlaces = {}): DecidedBy {
  const [origin] = option.length === 0 ? [] : originsOf(option)
  const [section, index] = option
  const name = section === 'rules' && typeof index === 'number' ? config.rules[index]?.name : undefined
  const written = places[optionName(option)] ?? places[optionName(option.slice(0, -1))]
  return {
    option: optionName(option),
    ...(name === undefined ? {} : { name }),
    ...(origin === undefined ? {} : { at: `${origin.file}:${origin.line}:${origin.col}` }),
    ...(written === undefined ? {} : { written }),
  }
}
