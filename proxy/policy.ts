import type { AllowlistSection, BlocklistSection } from '../config/config.js'
import { DiscobotError } from '../config/errors.js'
import { compileHostPatterns, type HostMatcher } from '../config/host-pattern.js'
import { compileIpSet, type IpSet } from '../config/ip-set.js'
import type { Target } from './target.js'

/** The operator's lists do not let this request through. Answered with 403. */
export class BlockedError extends DiscobotError {
  override readonly code = 'BLOCKED'
}

/** What the lists say of a host, before anything is resolved. */
export type HostVerdict =
  | { readonly action: 'allow' }
  /** Only some addresses are allowed: resolve first, then ask `address`. */
  | { readonly action: 'by-address' }
  | { readonly action: 'block'; readonly reason: string }

/** Link-local and metadata addresses, and "this host": never a place a client may be sent to. */
const NEVER_DIALLED = ['169.254.0.0/16', 'fe80::/10', 'fd00:ec2::254', '0.0.0.0/8', '::']

/**
 * The operator's lists, compiled. A pure decision: nothing is resolved, dialled or logged here.
 *
 * Block beats allow. An allowlist that is enabled and empty denies everything.
 */
export class Policy {
  readonly #allowEnabled: boolean
  readonly #allowedHosts: HostMatcher<string>
  readonly #allowedAddresses: IpSet
  readonly #blockedHosts: HostMatcher<string>
  readonly #blockedAddresses: IpSet
  readonly #neverDialled = compileIpSet(NEVER_DIALLED)
  readonly #addressRules: { readonly allow: boolean; readonly block: boolean }
  readonly #passthrough: HostMatcher<string>

  constructor(allow: AllowlistSection, block: BlocklistSection, passthrough: readonly string[]) {
    this.#allowEnabled = allow.enabled
    this.#allowedHosts = patternsOf(allow.domains)
    this.#allowedAddresses = compileIpSet(allow.ips)
    this.#blockedHosts = patternsOf(block.domains)
    this.#blockedAddresses = compileIpSet(block.ips)
    this.#addressRules = { allow: allow.enabled && allow.ips.length > 0, block: block.ips.length > 0 }
    this.#passthrough = patternsOf(passthrough)
  }

  host(target: Target): HostVerdict {
    const blocked = this.#blockedHosts.best(target.host)
    if (blocked !== undefined) return block(target, `blocklist.domains has "${blocked.value}"`)
    if (this.#allowEnabled && !this.#allowedHosts.matchesAny(target.host)) {
      if (this.#addressRules.allow) return { action: 'by-address' }
      return block(target, 'it is not in allowlist.domains')
    }
    return this.#addressRules.block ? { action: 'by-address' } : { action: 'allow' }
  }

  /** Why `address` may not be dialled for `target`, or undefined if it may. */
  address(target: Target, address: string): string | undefined {
    if (this.#neverDialled.has(address)) {
      return `${address} is a link-local, metadata or unspecified address, which is never dialled`
    }
    if (this.#blockedAddresses.has(address)) return `blocklist.ips has ${address}`
    if (!this.#allowEnabled || this.#allowedHosts.matchesAny(target.host)) return undefined
    return this.#allowedAddresses.has(address) ? undefined : `${address} is not in allowlist.ips`
  }

  /** Whether TLS to this host is tunnelled untouched. */
  passesThrough(target: Target): boolean {
    return this.#passthrough.matchesAny(target.host)
  }
}

function patternsOf(patterns: readonly string[]): HostMatcher<string> {
  return compileHostPatterns(patterns.map((pattern) => [pattern, pattern] as const))
}

function block(target: Target, why: string): HostVerdict {
  return { action: 'block', reason: `${target.host} may not be reached: ${why}` }
}
