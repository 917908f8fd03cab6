import { accessSync, constants, readFileSync, realpathSync } from 'node:fs'
import { basename } from 'node:path'
import { DiscobotError } from '../../base/errors.js'

/** The account a service is to run as cannot be taken on. */
class SwitchUserError extends DiscobotError {
  readonly code = 'USER_SWITCH_IMPOSSIBLE'

  constructor(user: string, reason: string) {
    super(`cannot run as ${JSON.stringify(user)}: ${reason}`)
  }
}

export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
}

/** The account of that name in the text of a passwd(5) file. */
export function findAccount(passwd: string, name: string): Account | undefined {
  for (const line of passwd.split('\n')) {
    const [login, , uid, gid, , home] = line.split(':')
    if (login !== name || uid === undefined || gid === undefined) continue
    return { name, uid: Number(uid), gid: Number(gid), home: home ?? '/' }
  }
  return undefined
}

/** Never looked up on the service's PATH: it runs as root, and that PATH may lead into a workspace. */
const SETPRIV_PATHS: readonly string[] = ['/usr/bin/setpriv', '/bin/setpriv']

export interface RunAsDeps {
  /** Our own effective user id; undefined where there are none. */
  readonly ownUid: number | undefined
  readonly passwdPath: string
  readonly setprivPaths: readonly string[]
}

export const systemRunAs: RunAsDeps = {
  ownUid: process.geteuid?.(),
  passwdPath: '/etc/passwd',
  setprivPaths: SETPRIV_PATHS,
}

/**
 * The command that runs `command` as `user`, with the user's supplementary groups and no capabilities.
 * Through setpriv(1) and not node's uid and gid options, because those call setgroups(0) and so lose the
 * docker group. setpriv replaces itself by the command: pid and exit code are the command's, and 126 and
 * 127 mean what they mean in a shell.
 *
 * @throws SwitchUserError when there is no such account, we are not root, or setpriv cannot do it.
 */
export function commandAs(
  user: string,
  command: readonly [string, ...string[]],
  deps: RunAsDeps = systemRunAs,
): readonly [string, ...string[]] {
  const account = accountOf(user, deps)
  if (account.uid === deps.ownUid) return command
  if (deps.ownUid !== 0) throw new SwitchUserError(user, 'only root can change to another account')
  return [
    setprivOf(user, deps),
    `--reuid=${account.uid}`,
    `--regid=${account.gid}`,
    '--init-groups',
    '--inh-caps=-all',
    '--',
    ...command,
  ]
}

/** @throws SwitchUserError when there is no such account. */
export function accountOf(user: string, { passwdPath }: RunAsDeps): Account {
  let passwd: string
  try {
    passwd = readFileSync(passwdPath, 'utf8')
  } catch (error) {
    throw new SwitchUserError(user, `${passwdPath} is not readable (${String(error)})`)
  }
  const account = findAccount(passwd, user)
  if (account === undefined) throw new SwitchUserError(user, `there is no such account in ${passwdPath}`)
  return account
}

/** @throws SwitchUserError when util-linux's setpriv is not installed. */
export function setprivOf(user: string, deps: RunAsDeps): string {
  return findTool('setpriv', user, deps.setprivPaths)
}

/**
 * Full path of a program of util-linux.
 *
 * @param user for the message.
 * @throws SwitchUserError when it is at none of the paths.
 */
export function findTool(tool: string, user: string, paths: readonly string[]): string {
  for (const path of paths) {
    try {
      accessSync(path, constants.X_OK)
      // busybox has a setpriv without --reuid, and no prlimit.
      if (basename(realpathSync(path)) !== 'busybox') return path
    } catch {
      continue
    }
  }
  throw new SwitchUserError(user, `util-linux's ${tool} is not installed (looked for ${paths.join(', ')})`)
}
