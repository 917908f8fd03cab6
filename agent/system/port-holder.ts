import { listPids } from '../process/proc-stat.js'
import { readOrEmpty, socketInodes, socketTable } from './proc-sockets.js'

/** proc_net_tcp(5) */
const LISTEN = '0A'

/**
 * Who listens on a port of this network namespace, in words: `pid 12, nginx`; undefined when it cannot be found out.
 * Looks through all processes: only for when it has gone wrong already.
 */
export function portHolder(port: number): string | undefined {
  const inodes = new Set(['tcp', 'tcp6'].flatMap((table) => listeningInodes(table, port)))
  if (inodes.size === 0) return undefined
  const holder = listPids().find((pid) => socketInodes(pid).some((inode) => inodes.has(inode)))
  return holder === undefined ? undefined : `pid ${holder}, ${nameOf(holder)}`
}

function listeningInodes(table: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return socketTable(table).flatMap(([, local = '', , state, , , , , , inode]) =>
    local.endsWith(wanted) && state === LISTEN && inode !== undefined ? [inode] : [],
  )
}

function nameOf(pid: number): string {
  return (
    readOrEmpty(`/proc/${pid}/comm`)
      .trim()
      .replaceAll(/[^\x20-\x7e]/g, '?') || 'without a name'
  )
}
