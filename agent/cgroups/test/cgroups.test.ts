import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findHierarchy } from '../find-hierarchy.js'
import { noServiceGroups, serviceGroupsIn } from '../service-groups.js'
import { obstacle, running, testGroup } from '../../../test/lab/hierarchy-lab.js'
import { makeLab, shell, shortFolder, waitFor } from '../../../test/lab/service-lab.js'

for (const kind of ['v2', 'v1'] as const) {
  t.test(
    `${kind}: nothing that a service has started survives its stop`,
    { skip: obstacle(kind) },
    async (t) => {
      const hierarchy = testGroup(t, kind)
      const groups = serviceGroupsIn(hierarchy)
      t.equal(groups.description, `${kind} in ${hierarchy.folder}/discobot-services`)
      const lab = makeLab(t, { groups })
      const word = `straggler-${kind}-${process.pid}`
      // Its own session, an environment without our mark, deaf, and it forks all the time.
      const daemon = `trap "" TERM; echo daemon up; while :; do sh -c "sleep 0.2; :" ${word} & sleep 0.005; done`
      const work = `env -i PATH="$PATH" setsid sh -c '${daemon}' ${word} & trap "exit 0" TERM; while :; do sleep 0.02; done`
      lab.supervisor.add(shell('forker', work, { user: 'nobody' }))
      await lab.supervisor.start('forker')
      await waitFor('the daemon', () => lab.said('forker').includes('daemon up'))
      await waitFor('its children', () => running(word).length > 3)
      const folder = join(hierarchy.folder, 'discobot-services', 'forker')
      const inside = readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').map(Number)
      t.ok(inside.includes(lab.supervisor.statusOf('forker').pid ?? -1))
      t.equal(await lab.supervisor.stop('forker'), 'ended')
      t.strictSame(running(word), [])
      t.notOk(existsSync(folder), 'and the group is gone')

      const own = ['sh', '-c', 'cat /proc/self/cgroup; exit 7'] as const
      lab.supervisor.add(shell('second', '', { command: own, restart: 'never' }))
      await lab.supervisor.start('second')
      await waitFor('the end', () => lab.supervisor.statusOf('second').state === 'failed')
      t.match(lab.supervisor.statusOf('second'), { lastExit: 'exit code 7' }, 'the code is the command’s')
      t.match(
        lab.said('second').join('\n'),
        '/discobot-services/second',
        'also for a program on the search path',
      )
      lab.supervisor.add(shell('absent', '', { command: ['/no/such/program'] }))
      await t.rejects(lab.supervisor.start('absent'), { message: /\/no\/such\/program is not found/ })
      await lab.supervisor.stop('second')
      groups.remove()
      t.strictSame(
        readdirSync(hierarchy.folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()),
        [],
      )
    },
  )
}

t.test('a service runs without a group where it cannot have one', async (t) => {
  const folder = join(shortFolder(t), 'nothing')
  t.equal(serviceGroupsIn({ kind: 'v2', folder }).description, `none: ${folder} is not writable`)
  const lab = makeLab(t, { groups: noServiceGroups('a test') })
  lab.supervisor.add(shell('one', 'exec sleep 60'))
  await lab.supervisor.start('one')
  t.equal(await lab.supervisor.stop('one'), 'ended')
})

const mount = (root: string, point: string, type: string, options: string): string =>
  `31 23 0:28 ${root} ${point} rw,nosuid shared:9 - ${type} ${type} rw,${options}\n`

t.test('which groups are ours to make, by what the kernel says of mounts and of ourselves', async (t) => {
  const v2 = mount('/', '/sys/fs/cgroup', 'cgroup2', 'nsdelegate')
  const top = (): boolean => false
  const below = (path: string): boolean => path.endsWith('/cgroup.events')
  t.strictSame(
    findHierarchy(v2, '0::/\n', below),
    { kind: 'v2', folder: '/sys/fs/cgroup' },
    'Docker with a cgroup namespace',
  )
  t.strictSame(
    findHierarchy(v2, '0::/system.slice/docker-1.scope\n', below),
    { kind: 'v2', folder: '/sys/fs/cgroup/system.slice/docker-1.scope' },
    "Docker with the host's namespace",
  )
  t.match(findHierarchy(v2, '0::/\n', top), { kind: 'none', reason: /the machine's own/ })
  t.match(
    findHierarchy(mount('/../..', '/sys/fs/cgroup', 'cgroup2', ''), '0::/mine\n', below),
    { kind: 'none', reason: /no control groups/ },
    'a mount of another namespace does not show our group',
  )
  const v1 = mount('/docker/1', '/sys/fs/cgroup/freezer', 'cgroup', 'freezer')
  t.strictSame(
    findHierarchy(v1, '7:pids:/docker/1\n6:freezer:/docker/1\n0::/\n', top),
    { kind: 'v1', folder: '/sys/fs/cgroup/freezer' },
    'Docker with version 1',
  )
  const machine =
    mount('/', '/sys/fs/cgroup/freezer', 'cgroup', 'freezer') +
    mount('/', '/sys/fs/cgroup/unified', 'cgroup2', '')
  t.match(findHierarchy(machine, '6:freezer:/\n0::/\n', top), { kind: 'none', reason: /the machine's own/ })
  t.strictSame(
    findHierarchy(machine, '6:freezer:/\n0::/mine\n', below),
    { kind: 'v2', folder: '/sys/fs/cgroup/unified/mine' },
    'both: version 2',
  )
  t.strictSame(findHierarchy(mount('/', String.raw`/with\040blank`, 'cgroup2', ''), '0::/a\n', below), {
    kind: 'v2',
    folder: '/with blank/a',
  })
  for (const nonsense of ['', '\n\n', 'a - b', ' - ', '1 2 3 - cgroup2'])
    t.match(findHierarchy(nonsense, nonsense, below), { kind: 'none' })
})
