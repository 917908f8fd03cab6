import { createReadStream, fstatSync } from 'node:fs'
import type { Server, Socket } from 'node:net'

/** proc_net_tcp (Documentation/networking): both list every connection that the kernel has in our namespace. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6']
/** The tenth field of a line; the heading has a word there. */
const INODE = /^\s*\d+:(?:\s+\S+){8}\s+(\d+)/
/** More is another's: a namespace shared with a busy machine. Then nothing is said. */
const MAX_LINES = 500_000

/**
 * The inode of a socket, by which the kernel's tables name it. Undefined for one that has no descriptor now. Node
 * tells it of no socket; its handle does.
 */
export function inodeOf(socket: Socket | Server): number | undefined {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: unknown } | null }
  const fd = handle?.fd
  return typeof fd === 'number' && fd >= 0 ? fstatSync(fd).ino : undefined
}

/**
 * Those of `inodes` that the kernel has no connection for: it was reset, or both sides have ended it. The tables come
 * in pages, between which the event loop goes on.
 *
 * @throws the system's error where there are no such tables.
 */
export async function withoutConnection(inodes: Iterable<number>): Promise<Set<number>> {
  const wanted = new Set(inodes)
  let lines = 0
  for (const table of TABLES) {
    let rest = ''
    for await (const chunk of createReadStream(table, 'latin1') as AsyncIterable<string>) {
      const text = (rest + chunk).split('\n')
      rest = text.pop() ?? ''
      for (const line of text) wanted.delete(Number(INODE.exec(line)?.[1]))
      lines += text.length
      if (lines > MAX_LINES || wanted.size === 0) return new Set()
    }
  }
  return wanted
}
