import { DiscobotError } from '../errors.js'
import { canonicalHost, isAddress } from './host-name.js'

/** A host pattern cannot be understood. */
export class HostPatternError extends DiscobotError {
  readonly code = 'HOST_PATTERN_INVALID'
}

/**
 * - `exact`: this host, a name or an address
 * - `below`: `*.rest`, any name that ends in it, at any depth, but not `rest` itself
 * - `then-one`: `rest.*`, the rest and exactly one more label: `api.*` is `api.com`, never `api.evil.com`
 * - `any`: every host
 */
type HostPattern =
  { readonly kind: 'exact' | 'below' | 'then-one'; readonly rest: string } | { readonly kind: 'any' }

interface HostMatch<T> {
  /** Canonical spelling. */
  readonly pattern: string
  readonly value: T
}

export interface HostMatcher<T> {
  /** The most specific pattern that matches: an exact one, else the longest, else `*`. */
  best(host: string): HostMatch<T> | undefined
  matchesAny(host: string): boolean
}

/** The pattern, or what is wrong with it as the end of a sentence about it. */
export function parseHostPattern(text: string): HostPattern | string {
  if (text === '*') return { kind: 'any' }
  const kind = text.startsWith('*.') ? 'below' : text.endsWith('.*') ? 'then-one' : 'exact'
  const written = kind === 'below' ? text.slice(2) : kind === 'then-one' ? text.slice(0, -2) : text
  if (/^[^:]+:\d*$/.test(written) || /^\[.*\]:/.test(written)) return 'has a port; write the host alone'
  const rest = written.includes('*') ? undefined : canonicalHost(written)
  if (rest === undefined) {
    return 'is not a host pattern; write a name (example.com), *.example.com, example.* or *'
  }
  // Only whole addresses are hosts: a name never ends in a number, so `10.*` could match nothing but those.
  if (kind !== 'exact' && isAddress(rest)) return 'has a wildcard in an address; write a CIDR block under ips'
  return { kind, rest }
}

/** The one spelling of a pattern. */
export function formatHostPattern(pattern: HostPattern): string {
  switch (pattern.kind) {
    case 'exact':
      return pattern.rest
    case 'below':
      return `*.${pattern.rest}`
    case 'then-one':
      return `${pattern.rest}.*`
    case 'any':
      return '*'
  }
}

/**
 * Compiles patterns with what each stands for; of two equal patterns the first counts. A lookup costs one
 * map access for each label of the host, however many patterns there are. Hosts may be in any case, with a
 * trailing dot or brackets; names that are not ASCII must be canonical.
 *
 * @throws HostPatternError for a pattern that cannot be understood.
 */
export function compileHostPatterns<T>(entries: Iterable<readonly [string, T]>): HostMatcher<T> {
  const byKind: Record<Exclude<HostPattern['kind'], 'any'>, Map<string, HostMatch<T>>> = {
    exact: new Map(),
    below: new Map(),
    'then-one': new Map(),
  }
  let any: HostMatch<T> | undefined
  for (const [text, value] of entries) {
    const pattern = parseHostPattern(text)
    if (typeof pattern === 'string')
      throw new HostPatternError(`cannot use "${text}" as a host: it ${pattern}`)
    const match = { pattern: formatHostPattern(pattern), value }
    if (pattern.kind === 'any') any ??= match
    else if (!byKind[pattern.kind].has(pattern.rest)) byKind[pattern.kind].set(pattern.rest, match)
  }
  const best = (text: string): HostMatch<T> | undefined => {
    const host = plainHost(text)
    if (host === '') return undefined
    const exact = byKind.exact.get(host)
    if (exact !== undefined) return exact
    const below = longestBelow(byKind.below, host)
    const thenOne = byKind['then-one'].get(host.slice(0, Math.max(0, host.lastIndexOf('.'))))
    if (below === undefined || thenOne === undefined) return below ?? thenOne ?? any
    return thenOne.pattern.length > below.pattern.length ? thenOne : below
  }
  return { best, matchesAny: (host) => best(host) !== undefined }
}

function longestBelow<T>(matches: ReadonlyMap<string, HostMatch<T>>, host: string): HostMatch<T> | undefined {
  if (matches.size === 0) return undefined
  for (let dot = host.indexOf('.', 1); dot !== -1; dot = host.indexOf('.', dot + 1)) {
    const match = matches.get(host.slice(dot + 1))
    if (match !== undefined) return match
  }
  return undefined
}

function plainHost(text: string): string {
  const host = text.toLowerCase()
  if (host.startsWith('[')) return host.slice(1, -1)
  return host.endsWith('.') ? host.slice(0, -1) : host
}
