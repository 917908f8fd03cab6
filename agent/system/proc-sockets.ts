import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

// Read from procfs. What has ended meanwhile, or may not be looked at, is read as empty.

/** Columns of each line of `/proc/net/NAME` (proc_net_tcp(5)), for example of `tcp6`, without the line of headings. */
export function socketTable(name: string): readonly (readonly string[])[] {
  return readOrEmpty(`/proc/net/${name}`)
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
}

/** Inodes of the sockets that a process has open, as those tables have them. */
export function socketInodes(pid: number): readonly string[] {
  return listOrEmpty(`/proc/${pid}/fd`).flatMap((fd) => {
    const [, inode] = /^socket:\[(\d+)\]$/.exec(linkOrEmpty(`/proc/${pid}/fd/${fd}`)) ?? []
    return inode === undefined ? [] : [inode]
  })
}

/** The text of a file. */
export function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** The names in a folder. */
export function listOrEmpty(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function linkOrEmpty(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
