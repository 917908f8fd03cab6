import type { AllowlistSection, BlocklistSection, Config } from '../../config/model/config.js'
import { DiscobotError } from '../../base/errors.js'
import { isAddress } from '../../base/net/host-name.js'
import { compileHostPatterns, type HostMatcher } from '../../base/net/host-pattern.js'
import { compileIpSet, type IpSet } from '../../base/net/ip-set.js'
import { compileAccessRules, type Asked, type CompiledRule, type RuleMatch } from './access-rules.js'
import { Egress } from './egress.js'
import type { Finding } from './finding.js'
import type { Target } from '../../base/net/target.js'

/** The operator's lists or rules do not let this request through. Answered with 403. */
export class BlockedError extends DiscobotError {
  override readonly code = 'BLOCKED'
}

/**
 * - `allow`: may be dialled
 * - `observe`: only because the mode is `observe`; a place to go if there is no better one
 * - `refuse`: may not be dialled
 */
export type AddressVerdict =
  { readonly action: 'allow' } | { readonly action: 'observe' | 'refuse'; readonly finding: Finding }

/** What decides over the addresses of a target. */
export interface AddressJudge {
  /** Whether it refuses addresses at all, besides those that are never dialled. */
  readonly isSelective: boolean
  address(address: string): AddressVerdict
}

export type Verdict =
  | { readonly action: 'block'; readonly finding: Finding }
  | (AddressJudge & {
      readonly action: 'allow'
      /** What would have been blocked if the mode were `enforce`. */
      readonly wouldBlock?: Finding
      /** Lists or rules judge addresses, so these must be known before anything is answered. */
      readonly byAddress: boolean
      /** What lets it through; the allowlist's switch when it is off. */
      readonly by: Finding['option']
    })

type PolicyConfig = Pick<Config, 'allowlist' | 'blocklist' | 'rules' | 'policy' | 'egress' | 'tls'>

/**
 * Lists, rules and egress, compiled. A pure decision: nothing is resolved, dialled or logged here.
 *
 * Block beats allow. An allowlist that is enabled and empty denies everything.
 */
export class Policy {
  readonly egress: Egress
  readonly #observes: boolean
  readonly #allow: AllowlistSection
  readonly #block: BlocklistSection
  readonly #allowedHosts: HostMatcher<number>
  readonly #allowedAddresses: IpSet
  readonly #blockedHosts: HostMatcher<number>
  readonly #blockedAddresses: IpSet
  /** Addresses that are blocked as hosts: a name must not be a way around that. */
  readonly #blockedLiterals: IpSet
  readonly #allowRules: readonly CompiledRule[]
  readonly #blockRules: readonly CompiledRule[]
  readonly #passthrough: HostMatcher<number>

  constructor({ allowlist, blocklist, rules, policy, egress, tls }: PolicyConfig) {
    this.egress = new Egress(egress)
    this.#observes = policy.mode === 'observe'
    this.#allow = allowlist
    this.#block = blocklist
    this.#allowedHosts = patternsOf(allowlist.domains)
    this.#allowedAddresses = compileIpSet(allowlist.ips)
    this.#blockedHosts = patternsOf(blocklist.domains)
    this.#blockedAddresses = compileIpSet(blocklist.ips)
    this.#blockedLiterals = compileIpSet(blocklist.domains.filter(isAddress))
    const compiled = compileAccessRules(rules)
    this.#allowRules = compiled.filter(({ action }) => action === 'allow')
    this.#blockRules = compiled.filter(({ action }) => action === 'block')
    this.#passthrough = patternsOf(tls.passthrough)
  }

  /** Whether what is asked for at `target` may be had, as far as that can be told before it is resolved. */
  judge(target: Target, asked: Asked): Verdict {
    const port = asked.kind === 'request' ? undefined : this.egress.tunnelPort(target.port)
    if (port !== undefined) return { action: 'block', finding: port }
    const blocked = this.#blocking(target, asked)
    const allowed = this.#allowing(target, asked)
    const finding = blocked ?? ('finding' in allowed ? allowed.finding : undefined)
    if (finding !== undefined) {
      if (!this.#observes) return { action: 'block', finding }
      // Already more than would be let through, so only egress is left to judge the address.
      const address = (text: string): AddressVerdict => refusal(this.egress.address(text))
      return {
        action: 'allow',
        wouldBlock: finding,
        byAddress: false,
        by: ['policy', 'mode'],
        isSelective: this.egress.judgesAddresses,
        address,
      }
    }
    const byAllowedAddress = 'byAddress' in allowed
    // A rule that may not apply to this request judges no address of it.
    const blockRules = this.#blockRules.filter(
      (rule) => !rule.addresses.isEmpty && isMatch(rule.matchesRest(target, asked), asked),
    )
    const judgesBlocked =
      blockRules.length > 0 || !this.#blockedAddresses.isEmpty || !this.#blockedLiterals.isEmpty
    return {
      action: 'allow',
      by: byAllowedAddress ? ['allowlist', 'ips'] : 'by' in allowed ? allowed.by : [],
      byAddress: byAllowedAddress || judgesBlocked,
      isSelective: byAllowedAddress || judgesBlocked || this.egress.judgesAddresses,
      address: (text) => {
        const refused = this.egress.address(text)
        if (refused !== undefined) return refusal(refused)
        const listed = this.#blockingAddress(text, blockRules) ?? this.#notAllowed(text, byAllowedAddress)
        if (listed === undefined) return { action: 'allow' }
        return { action: this.#observes ? 'observe' : 'refuse', finding: listed }
      },
    }
  }

  /**
   * What judges the addresses of a name that somebody looks up, and not yet asks anything of. Undefined for one of which
   * nothing may be had, whatever were asked.
   */
  judgeName(host: string): AddressJudge | undefined {
    const observed: AddressVerdict['action'] = this.#observes ? 'observe' : 'refuse'
    const ruled = this.#allowRules.some((rule) => rule.matchesHost(host))
    const listed = !this.#allow.enabled || ruled || this.#allowedHosts.best(host) !== undefined
    const isBlocked =
      this.#blockedHosts.best(host) !== undefined ||
      this.#blockRules.some((rule) => rule.scope === '' && rule.matchesHost(host))
    if (!this.#observes && (isBlocked || (!listed && this.#allow.ips.length === 0))) return undefined
    const wholeHosts = this.#blockRules.filter(({ scope }) => scope === '')
    return {
      isSelective: true,
      address: (text) => {
        const refused = this.egress.address(text)
        if (refused !== undefined) return refusal(refused)
        const finding = this.#blockingAddress(text, wholeHosts) ?? this.#notAllowed(text, !listed)
        return finding === undefined ? { action: 'allow' } : { action: observed, finding }
      },
    }
  }

  /** Whether TLS to this host is tunnelled untouched. */
  passesThrough(target: Target): boolean {
    return this.#passthrough.matchesAny(target.host)
  }

  #blocking(target: Target, asked: Asked): Finding | undefined {
    const listed = this.#blockedHosts.best(target.host)
    if (listed !== undefined) {
      const reason = `blocklist.domains has "${listed.pattern}"`
      return { option: ['blocklist', 'domains', listed.value], reason }
    }
    for (const rule of this.#blockRules) {
      if (!rule.matchesHost(target.host)) continue
      const match = rule.matchesRest(target, asked)
      if (isMatch(match, asked)) return { option: ['rules', rule.index], reason: blockReason(rule, match) }
    }
    return undefined
  }

  #allowing(target: Target, asked: Asked): Allowed {
    if (!this.#allow.enabled) return { by: ['allowlist', 'enabled'] }
    const listed = this.#allowedHosts.best(target.host)
    if (listed !== undefined) return { by: ['allowlist', 'domains', listed.value] }
    const ofHost = this.#allowRules.filter((rule) => rule.matchesHost(target.host))
    for (const rule of ofHost) {
      const match = rule.matchesRest(target, asked)
      // Into a tunnel one may go for what some rule could allow; bytes nobody sees are allowed by none.
      if (match === 'yes' || (match === 'perhaps' && asked.kind === 'tunnel')) {
        return { by: ['rules', rule.index] }
      }
    }
    if (this.#allow.ips.length > 0) return { byAddress: true }
    const [nearest, ...others] = ofHost
    if (nearest === undefined) {
      return { finding: { option: ['allowlist', 'enabled'], reason: 'it is not in allowlist.domains' } }
    }
    const more = others.length === 0 ? '' : `, and ${others.length} more such rules`
    const what = asked.kind === 'raw' ? ', and not for bytes that nobody can judge' : ''
    const reason = `${nearest.label} allows it only for ${nearest.scope}${what}${more}`
    return { finding: { option: ['rules', nearest.index], reason } }
  }

  #blockingAddress(address: string, blockRules: readonly CompiledRule[]): Finding | undefined {
    const listed = this.#blockedAddresses.find(address)
    if (listed !== undefined) {
      const option = ['blocklist', 'ips', this.#block.ips.indexOf(listed)]
      return { option, reason: `blocklist.ips has ${address}` }
    }
    const literal = this.#blockedLiterals.find(address)
    if (literal !== undefined) {
      const option = ['blocklist', 'domains', this.#block.domains.indexOf(literal)]
      return { option, reason: `blocklist.domains has ${address}` }
    }
    const rule = blockRules.find(({ addresses }) => addresses.has(address))
    return rule && { option: ['rules', rule.index], reason: `${rule.label} blocks ${address}` }
  }

  #notAllowed(address: string, byAddress: boolean): Finding | undefined {
    if (!byAddress || this.#allowedAddresses.has(address)) return undefined
    return { option: ['allowlist', 'enabled'], reason: `${address} is not in allowlist.ips` }
  }
}

type Allowed =
  { readonly by: Finding['option'] } | { readonly byAddress: true } | { readonly finding: Finding }

/** For a rule that blocks: bytes that nobody sees may be just what it blocks. */
function isMatch(match: RuleMatch, asked: Asked): boolean {
  return match === 'yes' || (match === 'perhaps' && asked.kind === 'raw')
}

function blockReason({ label, scope }: CompiledRule, match: RuleMatch): string {
  if (match === 'perhaps')
    return `${label} blocks ${scope} there, which cannot be told from bytes nobody looks into`
  return scope === '' ? `${label} blocks it` : `${label} blocks ${scope} there`
}

function refusal(finding: Finding | undefined): AddressVerdict {
  return finding === undefined ? { action: 'allow' } : { action: 'refuse', finding }
}

function patternsOf(patterns: readonly string[]): HostMatcher<number> {
  return compileHostPatterns(patterns.map((pattern, index) => [pattern, index] as const))
}
