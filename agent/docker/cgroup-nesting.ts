import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, DiscobotError } from '../../base/errors.js'

/** The controllers could not be handed down; containers inside cannot have limits. */
class CgroupNestingError extends DiscobotError {
  readonly code = 'CGROUP_NESTING_FAILED'
}

/** Processes may be born between the move and the write, so it takes a few rounds; dind uses the same way. */
const ROUNDS = 20

/**
 * Lets dockerd make cgroups below ours. Version 2 hands controllers down only from groups without processes of
 * their own (cgroups(7), "no internal processes"), so ours move to a leaf first.
 *
 * Does nothing where version 2 is not in use, or where this is the machine's real root: the rule does not hold
 * there, and all of the machine's processes would be moved.
 *
 * @param mount where the hierarchy is mounted, `/sys/fs/cgroup`.
 * @throws CgroupNestingError
 */
export async function nestCgroups(mount: string): Promise<'nested' | 'not needed'> {
  const controllers = await readIfThere(join(mount, 'cgroup.controllers'))
  // Only groups below the root have `cgroup.events`.
  const belowRoot = (await stat(join(mount, 'cgroup.events')).catch(() => undefined)) !== undefined
  if (controllers === undefined || !belowRoot) return 'not needed'
  const wanted = controllers.split(/\s+/).filter((name) => name !== '')
  const leaf = join(mount, 'init')
  let reason = 'no round succeeded'
  for (let round = 0; round < ROUNDS; round += 1) {
    try {
      await mkdir(leaf, { recursive: true })
      await moveProcesses(mount, leaf)
      await writeFile(join(mount, 'cgroup.subtree_control'), wanted.map((name) => `+${name}`).join(' '))
      return 'nested'
    } catch (error) {
      reason = codeOf(error) ?? String(error)
      // EBUSY: a process was born in the meantime. Anything else will not change.
      if (reason !== 'EBUSY') break
    }
  }
  throw new CgroupNestingError(
    `cannot hand cgroup controllers down: ${reason}; run the container with --privileged or a writable /sys/fs/cgroup`,
  )
}

async function moveProcesses(from: string, to: string): Promise<void> {
  const pids = (await readFile(join(from, 'cgroup.procs'), 'utf8')).split('\n').filter((pid) => pid !== '')
  for (const pid of pids) {
    try {
      await writeFile(join(to, 'cgroup.procs'), pid)
    } catch (error) {
      // It has ended, or is a kernel thread or a process outside of our pid namespace, shown as 0.
      if (codeOf(error) !== 'ESRCH' && codeOf(error) !== 'EINVAL') throw error
    }
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined)
}
