import { isDeepStrictEqual } from 'node:util'
import { isLoopback } from '../../base/net/loopback.js'
import { LOOPBACK } from '../model/paths.js'

/** Whether a workspace's file may set one value, and why: whose the value is, and who else would feel it. */
export interface WorkspaceRule {
  /** As `docs/configuration.md` has it, under "workspace". */
  readonly verdict: string
  /** As `docs/configuration.md` has it, in the table of reasons. */
  readonly because: string
  /**
   * - `tunes`: counts where the operator says nothing
   * - `narrows`: makes the operator's stricter, by `narrowPolicy` and `narrowEgress`, and reaches nothing otherwise
   * - `nothing`: never counts, because it may at most repeat what is in force
   */
  readonly effect: 'tunes' | 'narrows' | 'nothing'
  /** Why the value is not used, if it is not. `current` is what is in force; absent for what names somebody chose. */
  refusal(value: unknown, current: unknown): string | undefined
}

/** @param reason ends the message about the option. */
export function never(
  because: string,
  reason: string | ((current: unknown) => string),
  verdict = 'only what is in force',
): WorkspaceRule {
  const refusal = (value: unknown, current: unknown): string | undefined => {
    if (isDeepStrictEqual(value, current)) return undefined
    return typeof reason === 'string' ? reason : reason(current)
  }
  return { verdict, because, effect: 'nothing', refusal }
}

export function free(because: string): WorkspaceRule {
  return { verdict: 'yes', because, effect: 'tunes', refusal: () => undefined }
}

export function narrows(because: string, verdict: string): WorkspaceRule {
  return { verdict, because, effect: 'narrows', refusal: () => undefined }
}

/** One value of a narrowing key is the strict one. */
export function onlyStrict(because: string, strict: unknown, verdict: string, reason: string): WorkspaceRule {
  const refusal = (value: unknown): string | undefined => (value === strict ? undefined : reason)
  return { verdict, because, effect: 'narrows', refusal }
}

/** @param format how the figure in force is written. */
export function less(because: string, verdict: string, format: (current: number) => string): WorkspaceRule {
  const refusal = (value: unknown, current: unknown): string | undefined => {
    if (typeof current !== 'number') return 'a workspace may not choose it'
    if (typeof value === 'number' && value <= current) return undefined
    return `a workspace may only choose less than ${format(current)}`
  }
  return { verdict, because, effect: 'tunes', refusal }
}

export function more(because: string, verdict: string, format: (current: number) => string): WorkspaceRule {
  const refusal = (value: unknown, current: unknown): string | undefined => {
    if (typeof current !== 'number') return 'a workspace may not choose it'
    if (typeof value === 'number' && value >= current) return undefined
    return `a workspace may only choose more than ${format(current)}`
  }
  return { verdict, because, effect: 'tunes', refusal }
}

export function loopbackHosts(because: string): WorkspaceRule {
  return {
    verdict: `loopback addresses, ${LOOPBACK} among them`,
    because,
    effect: 'tunes',
    refusal: (value) => hostRefusal(Array.isArray(value) ? value.map(String) : []),
  }
}

/** A text that goes out with requests, and may not ask for one of the operator's secrets. */
export function withoutSecrets(because: string): WorkspaceRule {
  const refusal = (value: unknown): string | undefined => {
    if (typeof value === 'string' && !value.includes('${')) return undefined
    return 'a workspace may not name secrets (${…}); this rule is not used'
  }
  return { verdict: 'without `${…}`', because, effect: 'tunes', refusal }
}

function hostRefusal(hosts: readonly string[]): string | undefined {
  if (!hosts.every(isLoopback)) return 'a workspace may only choose loopback addresses'
  return hosts.includes(LOOPBACK)
    ? undefined
    : `the container's processes use ${LOOPBACK}, which is not in it`
}
