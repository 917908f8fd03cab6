import { readlinkSync, statSync } from 'node:fs'
import { ENGINE_SOCKET } from '../docker/rootless/command.js'
import type { AgentOptions } from '../settings/options.js'
import { findAccount, type Account } from '../process/run-as.js'
import { readOrEmpty } from '../system/proc-sockets.js'

/** By which way the workspace's user has root's rights, and so reads what is the proxy's alone. */
export interface Exposure {
  /** The rest of a sentence after "since". */
  readonly reason: string
  /** What the operator can do about it. */
  readonly remedy: string
}

/** Where a Docker engine of the machine outside is usually mounted. */
const SOCKETS = ['/var/run/docker.sock', '/run/docker.sock']

/**
 * Undefined where only root can read the keys and secrets of the proxy.
 *
 * @param rootful whether a Docker engine of ours will run as root, whose group the workspace's user is in.
 * @param root prefix of the file system to look at; empty for ours.
 */
export function exposureOf(options: AgentOptions, rootful: boolean, root = ''): Exposure | undefined {
  const { mode, user, inherited } = options
  if (mode === 'plain') {
    const reason = 'outside a container the proxy runs as the same account as everything else'
    return { reason, remedy: 'run it in a container' }
  }
  const account = user === undefined ? undefined : findAccount(readOrEmpty(`${root}/etc/passwd`), user)
  if (user === undefined || user === 'root' || account?.uid === 0)
    return { reason: "the workspace's user is root", remedy: 'name another DISCOBOT_USER' }
  if (rootful) {
    const reason = "the workspace's user has a Docker engine with root's rights"
    return { reason, remedy: 'set DISCOBOT_DOCKER to rootless or off' }
  }
  const [, named] = /^unix:\/\/(.+)$/.exec(inherited['DOCKER_HOST'] ?? '') ?? []
  const socket = [...(named === undefined ? [] : [named]), ...SOCKETS].find(
    (path) => !isRootless(path, root) && isOpenTo(user, account, path, root),
  )
  if (socket === undefined) return undefined
  return {
    reason: `the workspace's user may use the Docker engine at ${socket}`,
    remedy: `do not mount ${socket}`,
  }
}

/** Whether it is our own engine without root's rights, or the link to it, as an earlier step has left it. */
function isRootless(path: string, root: string): boolean {
  try {
    return path === ENGINE_SOCKET || readlinkSync(root + path) === ENGINE_SOCKET
  } catch {
    return false
  }
}

/** Whether that account may connect to a socket: unix(7), by permission to write. */
function isOpenTo(user: string, account: Account | undefined, path: string, root: string): boolean {
  const found = statSync(root + path, { throwIfNoEntry: false })
  if (found?.isSocket() !== true) return false
  if ((found.mode & 0o002) !== 0) return true
  if (account?.uid === found.uid) return (found.mode & 0o200) !== 0
  if ((found.mode & 0o020) === 0) return false
  return account?.gid === found.gid || groupsOf(user, readOrEmpty(`${root}/etc/group`)).includes(found.gid)
}

/** group(5): name, password, gid, members. */
function groupsOf(user: string, text: string): readonly number[] {
  return text.split('\n').flatMap((line) => {
    const [, , gid = '', members = ''] = line.split(':')
    return members.split(',').includes(user) ? [Number(gid)] : []
  })
}
