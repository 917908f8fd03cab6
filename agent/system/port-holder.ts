import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** proc_net_tcp(5) */
const LISTEN = '0A'

/**
 * Who listens on a port of this network namespace, in words: `pid 12, nginx`; undefined when it cannot be found out.
 * Looks through all processes: only for when it has gone wrong already.
 */
export function portHolder(port: number): string | undefined {
  const inodes = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) => listeningInodes(file, port)))
  if (inodes.size === 0) return undefined
  for (const pid of entries('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const fd of entries(`/proc/${pid}/fd`)) {
      if (inodes.has(linkOf(`/proc/${pid}/fd/${fd}`))) return `pid ${pid}, ${nameOf(pid)}`
    }
  }
  return undefined
}

function listeningInodes(file: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return textOf(file)
    .split('\n')
    .flatMap((line) => {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
      return local.endsWith(wanted) && state === LISTEN ? [`socket:[${inode}]`] : []
    })
}

function nameOf(pid: string): string {
  return (
    textOf(`/proc/${pid}/comm`)
      .trim()
      .replaceAll(/[^\x20-\x7e]/g, '?') || 'without a name'
  )
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    // It has ended, or it is none of ours to look at.
    return []
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
