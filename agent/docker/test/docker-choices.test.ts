import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { readDaemonSettings, type DaemonSettings } from '../daemon-settings.js'
import { chooseIptables } from '../iptables.js'
import { chooseMtu } from '../mtu.js'
import { chooseProxy, majorOf } from '../proxy-flags.js'
import { chooseStorage } from '../storage-driver.js'
import { ChildRegistry } from '../../process/children.js'
import { overlayOptions } from '../../overlay/overlay-layers.js'
import { commandRunner, type CommandOptions } from '../../system/command.js'
import { loadMountCalls } from '../../system/mount-calls.js'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'

const run = commandRunner(new ChildRegistry())
const never = new AbortController().signal
const SYSTEM_PATH = '/usr/sbin:/usr/bin:/sbin:/bin'

function commandOn(path: string): CommandOptions {
  return { env: { PATH: path }, cwd: '/', signal: never }
}

async function settingsOf(file: string | undefined, ...args: string[]): Promise<DaemonSettings> {
  const root = mkdtempSync(join(tmpdir(), 'discobot-daemon-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  mkdirSync(join(root, 'etc/docker'), { recursive: true })
  if (file !== undefined) writeFileSync(join(root, 'etc/docker/daemon.json'), file)
  return readDaemonSettings(args, root)
}

void t.test('what the operator says about dockerd is said once', async (t) => {
  const ours = [
    ['data-root', '/ours'],
    ['host', 'unix:///ours'],
    ['mtu', '1400'],
    ['http-proxy', 'http://ours'],
    ['default-network-opt', 'ours'],
  ] as const
  const names = (settings: DaemonSettings): string =>
    settings
      .without(ours)
      .map(([name]) => name)
      .join(' ')

  const silent = await settingsOf(undefined)
  t.equal(names(silent), 'data-root host mtu http-proxy default-network-opt')
  t.equal(silent.value('storage-driver'), undefined)

  const file = {
    'data-root': '/file',
    hosts: ['unix:///file', 'tcp://127.0.0.1:1'],
    mtu: 1300,
    'storage-driver': 'vfs',
    proxies: { 'http-proxy': 'http://theirs' },
    'default-network-opts': {},
    iptables: false,
  }
  const inFile = await settingsOf(JSON.stringify(file))
  t.equal(names(inFile), '')
  t.equal(inFile.value('data-root'), '/file')
  t.equal(inFile.value('iptables'), 'false')
  t.strictSame([inFile.hosts, inFile.hostsInFile], [file.hosts, true])

  const args = [
    '-g',
    '/args',
    '--mtu=1200',
    '-H=tcp://0.0.0.0:1',
    '-s',
    'btrfs',
    '--iptables',
    '-D',
    '--x',
    '-x',
  ]
  const inArgs = await settingsOf(undefined, ...args)
  t.equal(names(inArgs), 'host http-proxy default-network-opt', 'sockets add up')
  t.equal(inArgs.value('data-root'), '/args')
  t.equal(inArgs.value('storage-driver'), 'btrfs')
  t.equal(inArgs.value('iptables'), 'true')
  t.strictSame([inArgs.hosts, inArgs.hostsInFile], [['tcp://0.0.0.0:1'], false])

  for (const broken of ['{', '[]', 'null']) {
    await t.rejects(settingsOf(broken), {
      code: 'DOCKER_DAEMON_FILE_INVALID',
      message: /cannot use .*daemon\.json: .*; correct it/,
    })
  }
})

void t.test('networks get what the way out takes, when that is less than usual', async (t) => {
  const head = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n'
  const route = (name: string, destination: string, metric: number, mask = destination): string =>
    `${name}\t${destination}\t0100000A\t0003\t0\t0\t${metric}\t${mask}\t0\t0\t0\n`
  const net = { wg0: { mtu: '1380\n' }, eth0: { mtu: '1500\n' }, jumbo: { mtu: '9001\n' } }
  const machine = (routes: string, routes6 = ''): string =>
    t.testdir({ proc: { net: { route: head + routes, ipv6_route: routes6 } }, sys: { class: { net } } })

  const both =
    route('eth0', '00000000', 100) + route('wg0', '00000000', 50) + route('jumbo', '0000000A', 0, '000000FF')
  t.match(await chooseMtu(20, machine(both)), { flags: [['mtu', '1380']], told: 'mtu 1380 of wg0' })
  t.match(await chooseMtu(24, machine(both)), {
    flags: [
      ['mtu', '1380'],
      ['default-network-opt', 'bridge=com.docker.network.driver.mtu=1380'],
    ],
  })
  for (const plain of [
    route('eth0', '00000000', 0),
    route('jumbo', '00000000', 0),
    '',
    route('gone', '00000000', 0),
  ])
    t.strictSame(await chooseMtu(24, machine(plain)), { flags: [], told: 'mtu 1500' })
  const none = '0'.repeat(32)
  const routes6 = [
    `${none} 00 ${none} 00 ${none} ffffffff 00000001 00000000 00200200 lo`,
    `${none} 00 ${none} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003 wg0`,
  ]
  t.match(await chooseMtu(20, machine('', `${routes6.join('\n')}\n`)), { told: 'mtu 1380 of wg0' })
})

void t.test('the proxy is named by flags from version 23 on', (t) => {
  const access = { host: '127.0.0.1', port: 17080, caFile: '/ca', bundleFile: '/bundle' }
  t.equal(majorOf('Docker version 20.10.24+dfsg1, build 5d6db84\n'), 20)
  t.equal(majorOf('Docker version 27.3.1, build ce12230'), 27)
  t.equal(majorOf(''), 0)
  t.strictSame(chooseProxy(20, access), { flags: [], told: 'proxy by environment' })
  t.strictSame(chooseProxy(27, undefined), { flags: [], told: 'no proxy' })
  t.strictSame(chooseProxy(23, access), {
    flags: [
      ['http-proxy', 'http://127.0.0.1:17080'],
      ['https-proxy', 'http://127.0.0.1:17080'],
      ['no-proxy', 'localhost,127.0.0.1,::1'],
    ],
    told: 'proxy by flags',
  })
  t.end()
})

void t.test('the flavour of iptables is the one whose rules the kernel takes', async (t) => {
  const works = (version: string): string =>
    `#!/bin/sh\n[ "$1" = --version ] && echo 'iptables v1.8.9 (${version})'\nexit 0\n`
  const fails = `#!/bin/sh\ncase "$*" in *addrtype*) echo "$0: no chain/target/match by that name" >&2; exit 1;; esac\n`
  const place = (programs: Record<string, string>): { path: string; folder: string } => {
    const base = mkdtempSync(join(tmpdir(), 'discobot-iptables-'))
    t.teardown(() => rmSync(base, { recursive: true, force: true }))
    for (const [name, text] of Object.entries(programs))
      writeFileSync(join(base, name), text, { mode: 0o755 })
    return { path: `${base}:/usr/bin:/bin`, folder: join(base, 'chosen') }
  }
  const settings = await settingsOf(undefined)
  const choose = (
    { path, folder }: { path: string; folder: string },
    said = settings,
  ): ReturnType<typeof chooseIptables> =>
    chooseIptables({ settings: said, folder, run, command: commandOn(path) })

  t.strictSame(await choose(place({ iptables: works('nf_tables') })), { flags: [], told: 'iptables nft' })
  t.strictSame(await choose(place({ iptables: works('legacy') })), { flags: [], told: 'iptables legacy' })

  const other = place({
    iptables: fails,
    'iptables-nft': fails,
    'iptables-legacy': works('legacy'),
    'iptables-legacy-save': '',
    'ip6tables-legacy': '',
  })
  for (const again of ['first', 'second']) {
    const chosen = await choose(other)
    t.match(chosen, { flags: [], told: /^iptables legacy, since/, path: other.folder }, again)
  }
  const links = ['iptables', 'iptables-save', 'ip6tables'].map((name) =>
    readlinkSync(join(other.folder, name)),
  )
  const programs = ['iptables-legacy', 'iptables-legacy-save', 'ip6tables-legacy']
  t.strictSame(
    links,
    programs.map((name) => join(dirname(other.folder), name)),
  )

  t.match(await choose(place({ iptables: fails })), {
    flags: [['iptables', 'false']],
    limit: /containers reach no network .*no chain\/target\/match.*; install iptables, or load the modules/,
  })
  t.match(
    await chooseIptables({ settings, folder: '/nonexistent/x', run, command: commandOn('/nonexistent') }),
    {
      limit: /iptables is not installed/,
    },
  )
  const told = await settingsOf(undefined, '--iptables=false')
  t.strictSame(await choose(place({}), told), { flags: [], told: 'iptables false, as set' })
})

void t.test('the storage driver is one that works in the data root', { skip: NEEDS_ROOT }, async (t) => {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'discobot-storage-')))
  const calls = await loadMountCalls()
  const merged = join(base, 'merged')
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(base, name))
  const layers = { lower: join(base, 'lower'), upper: join(base, 'upper'), work: join(base, 'work') }
  calls.mount('overlay', merged, 'overlay', overlayOptions(layers, false))
  t.teardown(() => {
    calls.unmount(merged, 'detach')
    rmSync(base, { recursive: true, force: true })
  })
  const settings = await settingsOf(undefined)
  const choose = (dataRoot: string, path = SYSTEM_PATH, said = settings): ReturnType<typeof chooseStorage> =>
    chooseStorage({ settings: said, dataRoot, run, command: commandOn(path) })

  t.match(await choose(join(base, 'docker')), {
    flags: [['storage-driver', 'overlay2']],
    told: 'storage overlay2',
  })
  const onOverlay = join(merged, 'docker')
  t.match(await choose(onOverlay), {
    flags: [['storage-driver', 'fuse-overlayfs']],
    told: 'storage fuse-overlayfs',
  })
  t.match(await choose(onOverlay, '/nonexistent'), {
    flags: [['storage-driver', 'vfs']],
    limit:
      /vfs copies every image .*overlay2: the file system.*fuse-overlayfs: it is not installed\); put DISCOBOT_DATA_DIR on a volume/,
  })

  const former = (root: string, driver: string): string => {
    mkdirSync(join(root, 'image', driver), { recursive: true })
    return root
  }
  t.strictSame(await choose(former(join(base, 'old'), 'vfs')), { flags: [], told: 'storage vfs, as before' })
  t.match(await choose(former(join(base, 'fuse'), 'fuse-overlayfs')), { told: 'storage fuse-overlayfs' })
  t.match(await choose(former(onOverlay, 'overlay2')), {
    told: 'storage fuse-overlayfs',
    limit: /the images of storage driver overlay2 are out of sight/,
  })
  const set = await settingsOf('{"storage-driver": "btrfs"}')
  t.strictSame(await choose(join(base, 'new'), SYSTEM_PATH, set), {
    flags: [],
    told: 'storage btrfs, as set',
  })
  const left = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes('trial'))
  t.strictSame(left, [], 'no trial is left mounted')
})
