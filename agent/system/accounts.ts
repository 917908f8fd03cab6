import { join } from 'node:path'
import { findAccount, type Account } from '../process/run-as.js'
import { readIfPresent } from './atomic-file.js'

/** A line of `/etc/group`. Members by primary group are not listed there. */
interface Group {
  readonly name: string
  readonly gid: number
  readonly members: readonly string[]
}

/**
 * From the file alone: Node offers no getpwnam, and the accounts of a container are in its files.
 *
 * @param root prefix of the file system to look at; empty for ours.
 */
export async function readAccount(root: string, name: string): Promise<Account | undefined> {
  return findAccount((await readIfPresent(join(root, '/etc/passwd'))) ?? '', name)
}

/** Whether some account has that uid. */
export async function isUidTaken(root: string, uid: number): Promise<boolean> {
  const passwd = (await readIfPresent(join(root, '/etc/passwd'))) ?? ''
  return passwd.split('\n').some((line) => line.split(':')[2] === String(uid))
}

export async function readGroup(root: string, name: string): Promise<Group | undefined> {
  const group = (await readIfPresent(join(root, '/etc/group'))) ?? ''
  const fields = group.split('\n').map((line) => line.split(':'))
  const found = fields.find(([entry]) => entry === name)
  if (found === undefined) return undefined
  const [, , gid, members = ''] = found
  return { name, gid: Number(gid), members: members.split(',').filter((member) => member !== '') }
}
