import type { CacheRule, CacheSection } from '../../../config/model/config.js'
import { compileHostPatterns } from '../../../base/net/host-pattern.js'
import { digestAnywhere, digestInPath, type ContentDigest } from '../entry/content-digest.js'
import type { CacheRequest } from '../contract/contract.js'
import { PATTERNS_RULE } from '../entry/meta.js'

/** What a rule says of the entries it makes. */
export interface AppliedRule {
  readonly name: string
  /** Milliseconds after which upstream is asked again, Infinity meaning never; or as upstream says (RFC 9111). */
  readonly ttlMs: number | 'upstream'
  readonly ignoreQuery: boolean
  /** Bytes; Infinity where only the cache's own size counts. */
  readonly maxObjectBytes: number
  /** What a body must look like to be kept. */
  readonly expect: NonNullable<CacheRule['expect']>
  /** Whether a request that wants upstream asked is answered from the store all the same. */
  readonly servesNoCache: boolean
  /** Request headers, lower case, that go along though entries are not told apart by them. */
  readonly passHeaders: ReadonlySet<string>
}

/** The rule that covers a request, and the digest that its URL promises. */
export interface Covering {
  readonly rule: AppliedRule
  readonly digest: ContentDigest | undefined
  /** Whose entries it makes: empty for those that everybody shares; see `cache.apart`. */
  readonly apart: string
}

export interface CacheRules {
  /** `patterns` and the rules in force, in the order in which they are asked. */
  readonly names: readonly string[]
  /** The first rule that covers a request by its host and path. */
  find(request: Pick<CacheRequest, 'authority' | 'path'>): Covering | undefined
}

/**
 * Several `.*` in one pattern take time polynomial in the path's length. A repository name has at most 255
 * characters and a signed storage path few more, so longer paths are nobody's package.
 */
const MAX_PATH_LENGTH = 2048

interface CompiledRule extends AppliedRule {
  covers(host: string, path: string): boolean
  readonly verify: CacheRule['verify']
}

/** @throws SyntaxError for what is not a regular expression; the configuration has refused those before. */
export function compileRules(
  section: Pick<CacheSection, 'patterns' | 'rules' | 'ttl' | 'apart'>,
): CacheRules {
  const apartOf = compileApart(section.apart)
  const patterns = section.patterns.map((pattern) => new RegExp(pattern))
  const rules: CompiledRule[] = [
    {
      ...applied({ name: PATTERNS_RULE }, section.ttl),
      covers: (_host, path) => patterns.some((pattern) => pattern.test(path)),
      verify: undefined,
    },
    ...section.rules.flatMap((rule) => compileRule(rule, section.ttl)),
  ]
  return {
    names: rules.map(({ name }) => name),
    find({ authority, path }) {
      if (path.length > MAX_PATH_LENGTH) return undefined
      const host = authority.slice(0, authority.lastIndexOf(':'))
      for (const rule of rules) {
        if (!rule.covers(host, path)) continue
        const digest = rule.verify === undefined ? digestInPath(path) : digestAnywhere(path, rule.verify)
        // What is to be verified and names no digest is none of this rule's.
        if (rule.verify === undefined || digest !== undefined)
          return { rule, digest, apart: apartOf(rule.name, host) }
      }
      return undefined
    },
  }
}

/** Whose the entries of a rule are on a host. */
function compileApart({ by, rules, hosts }: CacheSection['apart']): (rule: string, host: string) => string {
  if (rules.length === 0 && hosts.length === 0) return () => ''
  const apartRules = new Set(rules)
  const apartHosts = compileHostPatterns(hosts.map((host) => [host, true] as const))
  return (rule, host) => (apartRules.has(rule) || apartHosts.matchesAny(host) ? by : '')
}

function compileRule(rule: CacheRule, ttlMs: CacheSection['ttl']): CompiledRule[] {
  if (rule.match === undefined || rule.enabled === false) return []
  const path = new RegExp(rule.match.path)
  const hosts =
    rule.match.host === undefined
      ? undefined
      : compileHostPatterns(rule.match.host.map((host) => [host, true] as const))
  return [
    {
      ...applied(rule, ttlMs),
      covers: (host, requested) => path.test(requested) && hosts?.matchesAny(host) !== false,
      verify: rule.verify,
    },
  ]
}

function applied(rule: CacheRule, sectionTtlMs: CacheSection['ttl']): AppliedRule {
  const ttlMs = rule.ttl ?? sectionTtlMs
  return {
    name: rule.name,
    ttlMs: ttlMs === 0 ? Infinity : ttlMs,
    ignoreQuery: rule.ignore_query ?? false,
    maxObjectBytes: rule.max_object ?? Infinity,
    expect: rule.expect ?? 'anything',
    servesNoCache: rule.no_cache === 'serve',
    passHeaders: new Set(rule.pass_headers?.map((name) => name.toLowerCase())),
  }
}
