import { existsSync } from 'node:fs'
import { listPids, readStat } from '../process/proc-stat.js'
import { listOrEmpty, readOrEmpty, socketInodes, socketTable } from '../system/proc-sockets.js'
import { DOCKER_RESOLVER } from './ruleset.js'

/** These settings exist in the first network namespace only (net/core/sysctl_net_core.c, `net_core_table`). */
const MACHINE_ONLY = '/proc/sys/net/core/dev_weight'

/**
 * Why the network is not this container's alone, as the rest of a sentence after "since"; undefined where it is. Rules
 * would be those of everybody in it: of the machine, or of the other containers of a pod.
 */
export function sharedNetwork(): string | undefined {
  if (existsSync(MACHINE_ONLY)) return "the network is the machine's own, whose rules they would be"
  const ours = socketsOfOurs()
  const foreign = listening().find(({ inode }) => !ours.has(inode))
  if (foreign === undefined) return undefined
  return `the network is not this container's alone: somebody else listens on ${foreign.place}`
}

/** Whether Docker's resolver is the one of this container. */
export function hasDockerResolver(): boolean {
  return new RegExp(`^nameserver\\s+${DOCKER_RESOLVER.replaceAll('.', String.raw`\.`)}\\s*$`, 'm').test(
    readOrEmpty('/etc/resolv.conf'),
  )
}

/** Interfaces called like a bridge of Docker's that are none, and may lead out. */
export function misnamedInterfaces(): string[] {
  return listOrEmpty('/sys/class/net').filter(
    (name) => /^(docker0$|br-)[\w.-]*$/.test(name) && !existsSync(`/sys/class/net/${name}/bridge`),
  )
}

interface Listener {
  readonly inode: string
  readonly place: string
}

/** `st` of `/proc/net/tcp`: TCP_LISTEN, and TCP_CLOSE for a UDP socket that waits for anybody. */
const WAITING: Readonly<Record<string, string>> = { tcp: '0A', tcp6: '0A', udp: '07', udp6: '07' }
/** 127.0.0.11 as it is written there; dockerd outside listens on it for us. */
const DOCKERS = '0B00007F'
/** Of `/proc/net/unix`: __SO_ACCEPTCON. */
const ACCEPTS = '00010000'

function listening(): Listener[] {
  const internet = Object.entries(WAITING).flatMap(([protocol, waiting]) =>
    socketTable(protocol).flatMap(([, local = '', , state, , , , , , inode]) => {
      const [address, port = ''] = local.split(':')
      if (state !== waiting || inode === undefined || address === DOCKERS) return []
      return [{ inode, place: `${protocol.slice(0, 3).toUpperCase()} port ${parseInt(port, 16)}` }]
    }),
  )
  const unix = socketTable('unix').flatMap(([, , , flags, , , inode, path]) =>
    flags === ACCEPTS && inode !== undefined ? [{ inode, place: path ?? 'a socket without a name' }] : [],
  )
  return [...internet, ...unix]
}

/** The sockets of this process and its descendants. Those of others in our own process namespace are somebody else's. */
function socketsOfOurs(): Set<string> {
  const parents = new Map(listPids().map((pid) => [pid, readStat(pid)?.ppid]))
  const isOurs = (pid: number | undefined): boolean =>
    pid !== undefined && (pid === process.pid || isOurs(parents.get(pid)))
  return new Set([...parents.keys()].filter(isOurs).flatMap(socketInodes))
}
