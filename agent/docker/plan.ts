import { existsSync, readFileSync, statSync } from 'node:fs'
import type { AgentOptions } from '../settings/options.js'
import { findOnPath } from '../settings/programs.js'

/** The address dockerd gives its own bridge unless told otherwise. */
export const BRIDGE_ADDRESS = '172.17.0.1'

/** Whether dockerd will be run, decided before anything starts: the proxy must know whether a bridge will come. */
export type DockerPlan =
  { readonly run: true; readonly dockerd: string } | { readonly run: false; readonly reason: string }

/** Made when missing. Who may use the socket of the rootless engine has its power, and that of its further ids. */
export const ENGINE_USER = 'discobot-docker'

/** Besides dockerd: what makes its namespaces, its network and its ids. Debian's packages are named alike but for two. */
const ROOTLESS_PROGRAMS: Readonly<Record<string, string>> = {
  rootlesskit: 'rootlesskit',
  slirp4netns: 'slirp4netns',
  newuidmap: 'uidmap',
  newgidmap: 'uidmap',
  ip: 'iproute2',
}
/** tun(4): slirp4netns gives the engine its network by it. */
const TUN = '/dev/net/tun'

/** linux/capability.h */
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21 } as const

/**
 * @param status text of `/proc/self/status`.
 */
export function planDocker(options: AgentOptions, uid: number, status: string): DockerPlan {
  const plan = planEngine(options, uid)
  if (!plan.run) return plan
  const missing = missingCapabilities(status)
  if (missing.length === 0) return plan
  return {
    run: false,
    reason: `not permitted: ${missing.join(' and ')} missing; run the container with --privileged`,
  }
}

/**
 * Whether all is there that a rootless engine takes. Whether the kernel lets it is found out when it is started.
 *
 * @param status text of `/proc/self/status`.
 * @param root prefix of the file system to look at; empty for ours.
 */
export function planRootless(options: AgentOptions, uid: number, status: string, root = ''): DockerPlan {
  const plan = planEngine(options, uid)
  if (!plan.run) return plan
  const missing = Object.keys(ROOTLESS_PROGRAMS).filter(
    (name) => findOnPath(name, searchPath(options)) === undefined,
  )
  if (missing.length > 0) {
    const packages = [...new Set(missing.map((name) => ROOTLESS_PROGRAMS[name]))]
    const what = `${missing.join(', ')} not found`
    return { run: false, reason: `${what}; install ${packages.join(', ')}` }
  }
  if (!existsSync(root + TUN))
    return { run: false, reason: `there is no ${TUN}; run the container with --device ${TUN}` }
  if (mayMapIds(options, status)) return plan
  const what = 'newuidmap may not give out ids, with CAP_SYS_ADMIN missing'
  return { run: false, reason: `${what}; run the container with --privileged` }
}

/**
 * user_namespaces(7): who writes a map must have CAP_SYS_ADMIN in the new namespace. As root by set-uid, newuidmap has it
 * from outside; with the capability alone (`setcap cap_setuid+ep`) it stays the account, whose namespace it is.
 */
function mayMapIds(options: AgentOptions, status: string): boolean {
  if (!missingCapabilities(status).includes('CAP_SYS_ADMIN')) return true
  const path = findOnPath('newuidmap', searchPath(options))
  return path !== undefined && (statSync(path).mode & 0o4000) === 0
}

function planEngine(options: AgentOptions, uid: number): DockerPlan {
  if (options.docker === 'off') return { run: false, reason: 'DISCOBOT_DOCKER is "off"' }
  if (options.mode === 'plain') return { run: false, reason: 'only a container gets a dockerd of its own' }
  const dockerd = findOnPath('dockerd', searchPath(options))
  if (dockerd === undefined) return { run: false, reason: 'dockerd is not installed' }
  if (uid !== 0) return { run: false, reason: 'dockerd needs root' }
  return { run: true, dockerd }
}

function searchPath({ inherited }: AgentOptions): string {
  return inherited['PATH'] ?? '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}

/** Reads `CapEff`, a hexadecimal mask (proc_pid_status(5)). */
export function missingCapabilities(status: string): string[] {
  return Object.entries(CAPABILITIES)
    .filter(([, bit]) => !hasCapability(status, bit))
    .map(([name]) => name)
}

/** @param bit number of the capability in linux/capability.h. */
export function hasCapability(status: string, bit: number): boolean {
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/im.exec(status)?.[1] ?? '0'}`)
  return (mask & (1n << BigInt(bit))) !== 0n
}

/** Empty where there is no procfs, and then nothing is permitted. */
export function readOwnStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8')
  } catch {
    return ''
  }
}
