import type { Config } from '../../config/model/config.js'
import type { AgentOptions } from '../settings/options.js'

/**
 * Why a rootful engine is refused to the workspace's user, each the rest of a sentence after "since". With root's
 * rights that user reads the environment of process 1 and whatever the proxy may read, so a secret counts whether the
 * proxy uses it or not; one that says `trust_docker: true` does not.
 *
 * @param config of the proxy; absent where there is none.
 * @param named more variables that may be secrets, as of a file that cannot be read.
 */
export function rootfulRefusals(
  { secrets, workspace }: Pick<AgentOptions, 'secrets' | 'workspace'>,
  config?: Pick<Config, 'secrets'>,
  named: readonly string[] = [],
): readonly string[] {
  const configured = Object.entries(config?.secrets ?? {})
  const trusted = configured.flatMap(([, { env, trust_docker: said }]) =>
    said === true && env !== undefined ? [env] : [],
  )
  const ofConfig = configured.flatMap(([name, { trust_docker: said }]) => (said === true ? [] : [name]))
  const ofEnvironment = [...Object.keys(secrets), ...named].filter((name) => {
    if (name === 'DISCOBOT_WORKSPACE') return hasPassword(workspace.source)
    return !trusted.includes(name)
  })
  const names = [...new Set([...ofConfig, ...ofEnvironment])].sort()
  return names.length === 0 ? [] : [`secrets are in force (${names.join(', ')})`]
}

/** `https://user:password@host`, and `https://token@host` as forges take it; `ssh://git@host` has none. */
function hasPassword(source: string | undefined): boolean {
  return (
    source !== undefined && (/^https?:\/\/[^/@]+@/i.test(source) || /^\w+:\/\/[^/@]*:[^/@]+@/.test(source))
  )
}
