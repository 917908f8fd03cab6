import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf } from '../../base/errors.js'
import { findHierarchy, type Hierarchy } from './find-hierarchy.js'
import { isWritable, ServiceGroup } from './service-group.js'

/** Of all our groups, below our own. */
const PARENT = 'discobot-services'

/** Gives each service a control group of its own where that is possible. */
export interface ServiceGroups {
  /** In one line for `status`: where, or why nowhere. */
  readonly description: string
  groupOf(service: string): ServiceGroup | undefined
  /** In one line for `status`: where the service may make groups of its own, or why nowhere. */
  delegationOf(service: string): string
  /** Takes away what is empty. Never throws. */
  remove(): void
}

/** Without control groups; what a service leaves behind is found by the mark in its environment. */
export function noServiceGroups(reason: string): ServiceGroups {
  const none = `none: ${reason}`
  return { description: none, groupOf: () => undefined, delegationOf: () => none, remove: () => undefined }
}

/** Looks at this system. Never throws: without groups everything works, only less surely. */
export function findServiceGroups(): ServiceGroups {
  try {
    const found = findHierarchy(
      readFileSync('/proc/self/mountinfo', 'utf8'),
      readFileSync('/proc/self/cgroup', 'utf8'),
      existsSync,
    )
    return found.kind === 'none' ? noServiceGroups(found.reason) : serviceGroupsIn(found)
  } catch (error) {
    return noServiceGroups(reasonOf(error))
  }
}

export function serviceGroupsIn({ kind, folder }: Hierarchy): ServiceGroups {
  const parent = join(folder, PARENT)
  if (!isWritable(folder)) return noServiceGroups(`${folder} is not writable`)
  try {
    mkdirSync(parent, { recursive: true })
  } catch (error) {
    return noServiceGroups(reasonOf(error))
  }
  const groups = new Map<string, ServiceGroup>()
  const groupOf = (service: string): ServiceGroup => {
    const group = groups.get(service) ?? new ServiceGroup(kind, join(parent, service))
    groups.set(service, group)
    return group
  }
  return {
    description: `${kind} in ${parent}`,
    groupOf,
    delegationOf: (service) => groups.get(service)?.delegation ?? 'none: it has not been started',
    remove: () => {
      try {
        rmdirSync(parent)
      } catch {
        // As with the groups in it: an empty folder does no harm.
      }
    },
  }
}
