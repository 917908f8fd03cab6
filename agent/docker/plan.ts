import { readFileSync } from 'node:fs'
import type { AgentOptions } from '../options.js'
import { findOnPath } from '../programs.js'

/** The address dockerd gives its own bridge unless told otherwise. */
export const BRIDGE_ADDRESS = '172.17.0.1'

/** Whether dockerd will be run, decided before anything starts: the proxy must know whether a bridge will come. */
export type DockerPlan =
  { readonly run: true; readonly dockerd: string } | { readonly run: false; readonly reason: string }

/** linux/capability.h */
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21 } as const

/**
 * @param status text of `/proc/self/status`.
 */
export function planDocker(options: AgentOptions, uid: number, status: string): DockerPlan {
  if (options.docker === 'off') return { run: false, reason: 'DISCOBOT_DOCKER is "off"' }
  if (options.mode === 'plain') return { run: false, reason: 'only a container gets a dockerd of its own' }
  const dockerd = findOnPath('dockerd', options.inherited['PATH'] ?? '/usr/local/bin:/usr/sbin:/usr/bin')
  if (dockerd === undefined) return { run: false, reason: 'dockerd is not installed' }
  if (uid !== 0) return { run: false, reason: 'dockerd needs root' }
  const missing = missingCapabilities(status)
  if (missing.length === 0) return { run: true, dockerd }
  return {
    run: false,
    reason: `not permitted: ${missing.join(' and ')} missing; run the container with --privileged`,
  }
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
