import { join } from 'node:path'
import type { CacheStats } from '../../proxy/cache/response-cache.js'
import type { AgentStatus } from '../../agent/status/status.js'
import { BUILT, startIsolated, type Container, type IsolatedSettings, type Result } from './isolated.js'
import type { OriginCertificates } from './origins/origin-certificates.js'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

export const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'

const UP = /Discobot is up.*Try next.*\n\n/s

/** A container whose boot is over, as its user sees it. */
export interface Booted {
  readonly container: Container
  /** In a login shell of the user's; rejects with its output when it fails. */
  shell(script: string): Promise<string>
  /** The same, its exit code being the test's to judge. */
  tryShell(script: string): Promise<Result>
  status(): Promise<AgentStatus>
  stats(): Promise<CacheStats>
}

/** The agent as process 1, with a proxy that trusts the servers of a test. Without dockerd unless `env` says so. */
export async function bootContainer(
  t: Scope,
  certificates: OriginCertificates,
  settings: IsolatedSettings = {},
): Promise<Booted> {
  const container = await startIsolated(t, {
    ...settings,
    env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY_CONFIG: certificates.operatorFile, ...settings.env },
    prepare: certificates.prepare + (settings.prepare ?? ''),
    readOnly: [certificates.folder, ...(settings.readOnly ?? [])],
  })
  await container.logged(UP)
  const tryShell = (script: string): Promise<Result> =>
    container.exec(script, { user: 'discobot', login: true })
  const shell = async (script: string): Promise<string> => {
    const { stdout, stderr, code } = await tryShell(script)
    if (code !== 0) throw new Error(`${script}\nended with ${code}:\n${stderr}\n${container.logs()}`)
    return stdout
  }
  const main = join(BUILT, 'agent/main.js')
  return {
    container,
    shell,
    tryShell,
    status: async () =>
      JSON.parse(await shell(`'${process.execPath}' '${main}' status --json`)) as AgentStatus,
    stats: async () =>
      JSON.parse(await shell('curl -sS http://localhost:17081/api/cache/stats')) as CacheStats,
  }
}

/** Resolves when the cache has kept that many entries: a client has the last byte a moment before. */
export async function stored({ stats }: Booted, count: number): Promise<CacheStats> {
  for (;;) {
    const now = await stats()
    if (now.stores >= count) return now
  }
}
