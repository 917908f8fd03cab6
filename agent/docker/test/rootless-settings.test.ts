import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { rootlessSettings } from '../rootless/operator-settings.js'
import { shortFolder } from '../../../test/lab/service-lab.js'

// What the operator has said of dockerd counts for a rootless one too, as far as an account without rights can do it.

void t.test("the operator's file is used without what only root has", async (t) => {
  const root = shortFolder(t)
  mkdirSync(join(root, 'etc/docker'), { recursive: true })
  const file = {
    'data-root': '/.data/docker',
    hosts: ['tcp://0.0.0.0:2375'],
    group: 'docker',
    'userns-remap': 'default',
    'registry-mirrors': ['https://mirror.test'],
    'insecure-registries': ['old.test:5000'],
    mtu: 1300,
    proxies: { 'http-proxy': 'http://own.test:1' },
  }
  writeFileSync(join(root, 'etc/docker/daemon.json'), JSON.stringify(file))
  const { settings, file: ours, leftOut } = await rootlessSettings(['--debug'], root)
  t.strictSame(JSON.parse(ours), {
    'registry-mirrors': ['https://mirror.test'],
    'insecure-registries': ['old.test:5000'],
    mtu: 1300,
    proxies: { 'http-proxy': 'http://own.test:1' },
  })
  t.strictSame([...leftOut].sort(), ['data-root', 'group', 'hosts', 'userns-remap'])
  const flags = settings.without([
    ['data-root', '/own'],
    ['mtu', '1500'],
    ['http-proxy', 'http://ours'],
  ])
  t.strictSame(flags, [['data-root', '/own']], 'dockerd takes a name once')
})

void t.test('another file than the usual one is the same, and dockerd is told of ours alone', async (t) => {
  const root = shortFolder(t)
  writeFileSync(join(root, 'other.json'), '{ "data-root": "/x", "debug": true }')
  for (const words of [['--config-file=/other.json'], ['--config-file', '/other.json']]) {
    const { args, file, leftOut } = await rootlessSettings(['--label=a', ...words, '-D'], root)
    t.strictSame(args, ['--label=a', '-D'])
    t.strictSame(JSON.parse(file), { debug: true })
    t.strictSame(leftOut, ['data-root'])
  }
  t.match(await rootlessSettings([], root), { file: '{}\n', leftOut: [] }, 'there need be none')
  writeFileSync(join(root, 'other.json'), '[')
  await t.rejects(rootlessSettings(['--config-file=/other.json'], root), {
    code: 'DOCKER_DAEMON_FILE_INVALID',
  })
})
