import { accessSync, constants, existsSync, readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../../base/errors.js'

const TREE = '/sys/fs/cgroup'

/**
 * Path for a control group at the top of the version 2 tree, where the controllers are; setup makes it. With
 * version 1, or a tree that may not be written, there is none. `name` ends in `-<our pid>-<random>`, by which
 * groups that a killed launcher left are known and removed here.
 */
export function newCgroup(name: string): string | undefined {
  try {
    accessSync(join(TREE, 'cgroup.procs'), constants.W_OK)
  } catch {
    return undefined
  }
  for (const group of childGroups(TREE)) {
    const launcher = /\/discobot-isolate-(\d+)-[^/]+$/.exec(group)?.[1]
    if (launcher !== undefined && !existsSync(`/proc/${launcher}`)) removeCgroup(group)
  }
  return join(TREE, name)
}

/**
 * Removes a control group and those below it, which is only possible once no process is left in them
 * (cgroups(7)). What still holds one is left: it is not ours to kill.
 */
export function removeCgroup(group: string): void {
  for (const child of childGroups(group)) removeCgroup(child)
  try {
    rmdirSync(group)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'EBUSY') throw error
  }
}

function childGroups(group: string): string[] {
  try {
    return readdirSync(group, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(group, entry.name))
  } catch {
    return []
  }
}
