import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Choice } from './choice.js'

/** dockerd's own for its networks, whatever is outside. */
const DEFAULT_MTU = 1_500
/** Before, networks that users make had to be told one by one. */
const KNOWS_NETWORK_DEFAULTS = 24

/**
 * Packets of a container that are larger than the way out takes are lost without a word wherever path discovery
 * is filtered: downloads hang. So its networks get what the outer interface has, when that is less.
 *
 * @param root prefix of the file system to look at; empty for ours.
 */
export async function chooseMtu(major: number, root = ''): Promise<Choice> {
  const outer = await outerInterface(root)
  const mtu =
    outer === undefined ? NaN : parseInt(await readText(join(root, '/sys/class/net', outer, 'mtu')), 10)
  if (!(mtu < DEFAULT_MTU)) return { flags: [], told: `mtu ${DEFAULT_MTU}` }
  return {
    flags: [
      ['mtu', String(mtu)],
      ...(major < KNOWS_NETWORK_DEFAULTS
        ? []
        : ([['default-network-opt', `bridge=com.docker.network.driver.mtu=${mtu}`]] as const)),
    ],
    told: `mtu ${mtu} of ${outer}`,
  }
}

/** Of the default route with the lowest metric (proc_net_route: interface, destination, …, metric at 6). */
async function outerInterface(root: string): Promise<string | undefined> {
  const routes = (await readText(join(root, '/proc/net/route')))
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
  const [first] = routes.sort((a, b) => Number(a[6]) - Number(b[6]))
  return first?.[0] ?? (await outerInterface6(root))
}

/** Destination, its length, four more fields, metric at 5 in hexadecimal, and the interface at the end. */
async function outerInterface6(root: string): Promise<string | undefined> {
  const routes = (await readText(join(root, '/proc/net/ipv6_route')))
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([destination, length]) => destination === '0'.repeat(32) && length === '00')
    .filter((fields) => fields.at(-1) !== 'lo')
  const [first] = routes.sort((a, b) => parseInt(a[5] ?? '', 16) - parseInt(b[5] ?? '', 16))
  return first?.at(-1)
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '')
}
