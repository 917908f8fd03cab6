/** Where groups of our own can be made below the one we are in. */
export interface Hierarchy {
  /** `v1` has no `cgroup.kill`; its freezer stops a group first, so that nothing in it can fork while it is killed. */
  readonly kind: 'v2' | 'v1'
  /** Our own group, as a folder. */
  readonly folder: string
}

/**
 * The hierarchy for groups of services: version 2 where it is mounted, otherwise the freezer of version 1.
 *
 * None at the top of the machine's own tree, which is not ours to arrange: only below it have groups of version 2
 * `cgroup.events`, and only there does a mount of version 1 or its entry in `/proc/self/cgroup` name a folder.
 *
 * @param mountinfo text of `/proc/self/mountinfo`, proc_pid_mountinfo(5).
 * @param own text of `/proc/self/cgroup`, cgroups(7).
 * @param exists whether there is a file of that path.
 */
export function findHierarchy(
  mountinfo: string,
  own: string,
  exists: (path: string) => boolean,
): Hierarchy | { readonly kind: 'none'; readonly reason: string } {
  const mounts = mountinfo.split('\n').flatMap(readMount)
  const groups = own.split('\n').flatMap(readGroup)
  const v2 = mounts.find(({ type }) => type === 'cgroup2')
  const folder2 = v2 && folderOf(v2, groups.find(({ controllers }) => controllers === '')?.path)
  if (folder2 !== undefined && exists(`${folder2}/cgroup.events`)) return { kind: 'v2', folder: folder2 }
  const isFreezer = (names: string): boolean => names.split(',').includes('freezer')
  const v1 = mounts.find(({ type, options }) => type === 'cgroup' && isFreezer(options))
  const freezer = groups.find(({ controllers }) => isFreezer(controllers))
  const folder1 = v1 && folderOf(v1, freezer?.path)
  if (folder1 !== undefined && !(v1?.root === '/' && freezer?.path === '/'))
    return { kind: 'v1', folder: folder1 }
  const reason =
    folder2 === undefined && folder1 === undefined
      ? 'no control groups are mounted'
      : "the machine's own control groups are not ours to arrange"
  return { kind: 'none', reason }
}

interface Mount {
  readonly root: string
  readonly point: string
  readonly type: string
  readonly options: string
}

function readMount(line: string): Mount[] {
  const [before = '', after = ''] = line.split(' - ', 2)
  const [, , , root, point] = before.split(' ')
  const [type, , options = ''] = after.split(' ')
  if (root === undefined || point === undefined || type === undefined) return []
  return [{ root: unescaped(root), point: unescaped(point), type, options }]
}

/** Blanks, tabs, newlines and backslashes are written in octal. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))
}

function readGroup(line: string): { controllers: string; path: string }[] {
  const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? []
  return controllers === undefined || path === undefined ? [] : [{ controllers, path }]
}

/** Undefined where the mount does not show our group: it was made in another namespace. */
function folderOf({ root, point }: Mount, path: string | undefined): string | undefined {
  if (path === undefined) return undefined
  const below =
    root === '/'
      ? path
      : path === root
        ? '/'
        : path.startsWith(`${root}/`)
          ? path.slice(root.length)
          : undefined
  // Docker's version 1 shows a container its own group as the top of each mount, and the way to it from outside.
  if (below === undefined) return undefined
  return `${point}${below}`.replace(/\/+$/, '')
}
