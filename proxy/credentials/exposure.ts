import type { networkInterfaces } from 'node:os'
import { compileIpSet, type IpSet } from '../../base/net/ip-set.js'
import { ENGINE_PROXY_ADDRESS } from '../../config/model/paths.js'

type Interfaces = ReturnType<typeof networkInterfaces>

/** The last is for the Docker engine of this container, and kept from everybody else by the agent. */
const WITHIN = compileIpSet(['127.0.0.0/8', '::1', ENGINE_PROXY_ADDRESS])
const EVERY_ADDRESS = compileIpSet(['0.0.0.0', '::'])
/** Docker's own bridge and those of its networks: behind them are containers of this machine. */
export const CONTAINER_BRIDGE = /^(docker\d+|br-[0-9a-f]{12})$/

/**
 * Of the addresses to listen on, those at which others can reach us than this machine's processes and containers.
 * One that this machine does not have at present is none: nobody listens there.
 */
export function exposedHosts(hosts: readonly string[], interfaces: Interfaces): readonly string[] {
  const outside = addressesOf(interfaces, (name) => !CONTAINER_BRIDGE.test(name))
  return hosts.filter((host) => !WITHIN.has(host) && (EVERY_ADDRESS.has(host) || outside.has(host)))
}

function addressesOf(interfaces: Interfaces, isWanted: (name: string) => boolean): IpSet {
  const wanted = Object.entries(interfaces).filter(([name]) => isWanted(name))
  return compileIpSet(wanted.flatMap(([, entries]) => (entries ?? []).map(({ address }) => address)))
}

/** For the log and `/health`. */
export function exposureFinding(hosts: readonly string[]): string {
  return `${hosts.join(', ')}: whoever reaches this address may use the proxy; set proxy.auth, or listen elsewhere`
}
