import { compilePatternCover } from '../../base/net/host-pattern-index.js'
import { compileIpCover } from '../../base/net/ip-set.js'
import type { Layer, Origin } from '../layers/layer.js'
import type { Merged } from '../layers/merge.js'

/**
 * The part of a workspace's lists that makes the operator's policy stricter:
 *
 * - blocklist: added to the operator's
 * - allowlist, where the operator's is enabled: its entries as far as the operator's cover them. An entry
 *   that is not covered is refused; if none is left, nothing is allowed, since nothing suits both.
 * - allowlist, where the operator's is not enabled: the workspace's, if it enables it
 */
export function narrowPolicy(
  workspace: Layer,
  { config, sources }: Merged,
  refuse: (path: readonly (string | number)[], reason: string) => void,
): Layer {
  const { allowlist, blocklist } = workspace.values
  const origins = new Map<string, readonly Origin[]>()

  const take = <T>(section: string, key: string, value: T): T => {
    origins.set(`${section}.${key}`, workspace.originsOf([section, key]))
    return value
  }
  const add = (key: 'domains' | 'ips', entries: readonly string[]): readonly string[] => {
    const option = `blocklist.${key}`
    const added = workspace.originsOf(['blocklist', key])
    const present = config.blocklist[key].length > 0 ? (sources[option] ?? []) : []
    origins.set(option, [...present, ...added])
    return [...new Set([...config.blocklist[key], ...entries])]
  }
  const intersect = (key: 'domains' | 'ips', entries: readonly string[]): readonly string[] => {
    const compile = key === 'domains' ? compilePatternCover : compileIpCover
    const isCovered = compile(config.allowlist[key])
    const covered = entries.filter((entry, index) => {
      if (isCovered(entry)) return true
      refuse(['allowlist', key, index], `"${entry}" is not covered by the operator's allowlist`)
      return false
    })
    return take('allowlist', key, covered)
  }
  const allow = (key: 'domains' | 'ips', entries: readonly string[]): readonly string[] =>
    config.allowlist.enabled ? intersect(key, entries) : take('allowlist', key, entries)

  const enables = allowlist?.enabled === true && !config.allowlist.enabled
  const isInForce = enables || config.allowlist.enabled
  return {
    values: {
      allowlist: {
        ...(enables && { enabled: take('allowlist', 'enabled', true) }),
        ...(isInForce && allowlist?.domains && { domains: allow('domains', allowlist.domains) }),
        ...(isInForce && allowlist?.ips && { ips: allow('ips', allowlist.ips) }),
      },
      blocklist: {
        ...(blocklist?.domains && { domains: add('domains', blocklist.domains) }),
        ...(blocklist?.ips && { ips: add('ips', blocklist.ips) }),
      },
    },
    originsOf: ([section, key]) => origins.get(`${section}.${key}`) ?? [],
  }
}
