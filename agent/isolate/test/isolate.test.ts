import { execFileSync, spawn } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { isolatedEnvironment } from '../environment.js'
import { machineMounts } from '../mounts.js'
import { BUILT, startIsolated } from '../../../test/lab/isolated.js'

const LAUNCHER = `
import { runIsolated } from '${BUILT}/agent/isolate/run.js'
import { createLogger } from '${BUILT}/base/log/logger.js'
const [dataDir, ...command] = process.argv.slice(1)
const logger = createLogger({ level: 'info', format: 'text' })
try {
  process.exitCode = await runIsolated({ env: process.env, command, projectDir: '${BUILT}', dataDir, logger })
} catch (error) {
  console.error(error.code, error.message)
  process.exitCode = 99
}
`

/** Process 1 of these tests: says that it runs, ends with 7 on TERM and with 9 on INT. */
const SLEEPER: readonly [string, ...string[]] = [
  process.execPath,
  '-e',
  `process.on('SIGTERM', () => process.exit(7)); process.on('SIGINT', () => process.exit(9))
   console.log('up as', process.pid); setInterval(() => {}, 1000)`,
]

t.test('the command is process 1 with its own names, files, devices and network', async (t) => {
  const container = await startIsolated(t, { command: SLEEPER, env: { DISCOBOT_USER: 'x' } })
  await container.logged(/up as 1\n/)
  const look = await container.exec(`
    hostname; readlink /proc/1/exe; ls /proc | grep -c '^[0-9]'; cat /sys/class/net/lo/operstate
    ls /sys/class/net; readlink /dev/fd; stat -c %a /tmp; cat /proc/1/environ | tr '\\0' '\\n' | sort
    grep -c ' / ' /proc/self/mountinfo`)
  t.equal(look.code, 0, look.stderr)
  // Not by /proc/1/comm: Node from 24 on calls its main thread MainThread.
  t.equal(look.stdout.split('\n', 2).join(), `discobot,${realpathSync(process.execPath)}`)
  t.match(look.stdout, /\nunknown\nlo\n\/proc\/self\/fd\n1777\n/, 'loopback is up and the only interface')
  t.match(look.stdout, /DISCOBOT_DATA_DIR=\/.data\nDISCOBOT_USER=x\nLANG=C.UTF-8\nPATH=/)
  t.notMatch(look.stdout, /ISOLATE_|HOME=/, 'nothing else of the environment passes')
  const devices = await container.exec(
    'echo x >/dev/null && head -c 4 /dev/urandom | wc -c && tty; ls /dev/shm',
  )
  t.match(devices.stdout, /4\n/)
})

t.test('what it writes is gone with it, except below /.data', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
  t.teardown(() => rmSync(dataDir, { recursive: true }))
  const mark = `discobot-test-${process.pid}`
  const container = await startIsolated(t, { command: SLEEPER, dataDir })
  await container.logged(/up as 1/)
  const wrote = await container.exec(
    `for d in /etc /usr /var /tmp /run /home /.data; do echo x >$d/${mark} || exit 1; done; rm /etc/hostname`,
  )
  t.equal(wrote.code, 0, wrote.stderr)
  t.equal(await container.stop(), 7)
  for (const dir of ['/etc', '/usr', '/var', '/tmp', '/run', '/home', '/.data']) {
    t.notOk(existsSync(join(dir, mark)), `${dir} of this machine is untouched`)
  }
  t.equal(readFileSync(join(dataDir, mark), 'utf8'), 'x\n')
})

t.test('the program sees its own folder, even below /tmp, and cannot change it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-project-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'a,b:c'), 'seen')
  const container = await startIsolated(t, { command: SLEEPER, readOnly: [folder, join(folder, 'a,b:c')] })
  const look = await container.exec(`cat '${folder}/a,b:c'; echo y >'${folder}/new'`)
  t.match(look, { stdout: 'seen', code: /[12]/ })
  t.match(look.stderr, /Read-only/)
})

t.test('prepare runs inside before process 1 starts: hosts, addresses, users', async (t) => {
  const container = await startIsolated(t, {
    command: ['sh', '-c', 'cat /prepared; exec sleep 60'],
    prepare: `echo first >/prepared; echo 10.99.0.1 registry.test >>/etc/hosts
      ip addr add 10.99.0.1/32 dev lo; useradd --create-home --shell /bin/bash visitor
      echo 'export FROM_PROFILE=yes' >/etc/profile.d/test.sh`,
  })
  await container.logged(/first/)
  const server = container.spawnInside([
    process.execPath,
    '-e',
    `require('http').createServer((q, s) => s.end('hello')).listen(80, '10.99.0.1', () => console.log('listening'))`,
  ])
  await new Promise((resolve) => server.stdout?.once('data', resolve))
  const answer = await container.exec('curl -sS http://registry.test/')
  t.match(answer, { stdout: 'hello', code: 0 })
  const login = await container.exec('echo "$(id -un) $FROM_PROFILE $HOME"; exit 3', {
    user: 'visitor',
    login: true,
  })
  t.match(login, { stdout: 'visitor yes /home/visitor\n', code: 3 })
})

t.test('a prepare that fails is an error with its reason, and leaves nothing', async (t) => {
  await t.rejects(startIsolated(t, { command: SLEEPER, prepare: 'exit 4' }), { code: 'ISOLATE_FAILED' })
  t.same(leftovers(process.pid), [])
})

t.test('a mount point that cannot be served is named in the error', async (t) => {
  const readOnly = ['/nowhere/at/all']
  await t.rejects(startIsolated(t, { command: SLEEPER, readOnly }), {
    code: 'ISOLATE_FAILED',
    message: /^cannot isolate: .*nowhere/,
  })
})

t.test('exit codes are process 1’s own, 128+n after a signal', async (t) => {
  for (const [script, expected] of [
    ['exit 0', 0],
    ['exit 42', 42],
    ['exit 255', 255],
  ] as const) {
    const container = await startIsolated(t, { command: ['sh', '-c', script] })
    t.equal(await container.exited, expected, script)
  }
  const killed = await startIsolated(t, { command: SLEEPER })
  t.equal(await killed.stop('SIGKILL'), 137)
})

t.test(
  'the launcher forwards signals, returns the inner code, and leaves nothing mounted or running',
  async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
    t.teardown(() => rmSync(dataDir, { recursive: true }))
    for (const [signal, code] of [
      ['SIGTERM', 7],
      ['SIGINT', 9],
    ] as const) {
      const launcher = spawn(process.execPath, ['--input-type=module', '-e', LAUNCHER, dataDir, ...SLEEPER], {
        env: { ...process.env, PATH: '/usr/sbin:/usr/bin:/sbin:/bin', SECRET: 'no' },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const ended = new Promise((resolve) => launcher.once('exit', resolve))
      const seen = await linesUntil(launcher.stdout, /up as 1/)
      t.match(seen, /nsenter --target \d+ --all/, 'says how to get in')
      launcher.kill(signal)
      t.equal(await ended, code, signal)
      t.same(leftovers(launcher.pid), [])
      t.notOk(isRunning(Number(/--target (\d+)/.exec(seen)?.[1])))
    }
  },
)

t.test('a launcher killed with -9 takes everything with it', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
  t.teardown(() => rmSync(dataDir, { recursive: true }))
  const launcher = spawn(process.execPath, ['--input-type=module', '-e', LAUNCHER, dataDir, ...SLEEPER], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const seen = await linesUntil(launcher.stdout, /up as 1/)
  const inner = Number(/--target (\d+)/.exec(seen)?.[1])
  t.ok(existsSync(`/proc/${inner}`))
  launcher.kill('SIGKILL')
  const giveUpAt = Date.now() + 5_000
  while (isRunning(inner) && Date.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, 10))
  t.notOk(isRunning(inner))
})

t.test('slirp4netns gives it a way outside, and nothing on this machine changes', async (t) => {
  const interfaces = execFileSync('ip', ['-brief', 'address'], { encoding: 'utf8' })
  const container = await startIsolated(t, { command: SLEEPER, network: 'outside' })
  const look = await container.exec('ip -brief address show tap0; ip route; cat /etc/resolv.conf')
  t.match(look.stdout, /^tap0 .* 10\.0\.2\.100\/24/)
  t.match(look.stdout, /^default via 10\.0\.2\.2 dev tap0/m)
  t.match(look.stdout, /nameserver 10\.0\.2\.3\n$/)
  t.equal(execFileSync('ip', ['-brief', 'address'], { encoding: 'utf8' }), interfaces)
})

t.test('without slirp4netns it has loopback only, and says so', async (t) => {
  const bin = t.testdir()
  for (const program of [
    'setpriv',
    'unshare',
    'ip',
    'mount',
    'umount',
    'pivot_root',
    'sh',
    'stat',
    'mkdir',
  ]) {
    symlinkSync(execFileSync('which', [program], { encoding: 'utf8' }).trim(), join(bin, program))
  }
  for (const program of ['chown', 'chmod', 'dirname', 'cp', 'ln', 'rm', 'cat', 'sleep']) {
    symlinkSync(execFileSync('which', [program], { encoding: 'utf8' }).trim(), join(bin, program))
  }
  const warnings: string[] = []
  const logger = {
    ...silentLogger,
    warn: (fields: object, text: string) => warnings.push(JSON.stringify(fields) + text),
  }
  const container = await startIsolated(t, {
    command: SLEEPER,
    network: 'outside',
    env: { PATH: bin },
    logger,
  })
  t.match(warnings.join(), /slirp4netns is not installed.*loopback only/)
  t.match(await container.exec('ls /sys/class/net'), { stdout: 'lo\n' })
})

t.test('without root it says so and how to go on', async (t) => {
  const child = spawn(
    'setpriv',
    [
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      process.execPath,
      '--input-type=module',
      '-e',
      LAUNCHER,
      '/tmp/x',
      'true',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' },
  )
  const message = await linesUntil(child.stderr, /\n/)
  t.match(message, /^ISOLATE_FAILED cannot isolate: namespaces and mounts need root; run it with sudo/)
})

t.test('only Discobot’s settings, the terminal, the language and the path pass', async (t) => {
  const env = {
    DISCOBOT_WORKSPACE: 'project',
    DISCOBOT_PROXY_CONFIG: '/etc/p.yaml',
    DISCOBOT_DATA_DIR: './.data',
    TERM: 'xterm',
    LC_ALL: 'C',
    PATH: '/bin',
    HOME: '/root',
    AWS_SECRET: 'x',
    MY_DISCOBOT_X: 'x',
  }
  const passed = isolatedEnvironment(env, (value) => !value.includes(':'))
  t.same(Object.keys(passed).sort(), [
    'DISCOBOT_DATA_DIR',
    'DISCOBOT_PROXY_CONFIG',
    'DISCOBOT_WORKSPACE',
    'LC_ALL',
    'PATH',
    'TERM',
  ])
  t.equal(passed['DISCOBOT_DATA_DIR'], '/.data')
  t.equal(passed['DISCOBOT_WORKSPACE'], join(process.cwd(), 'project'))
  t.equal(
    isolatedEnvironment({ DISCOBOT_WORKSPACE: 'https://h/r' }, () => false)['DISCOBOT_WORKSPACE'],
    'https://h/r',
  )
})

t.test('mount points with files of their own are found, those of the kernel are not', async (t) => {
  const mountinfo = [
    '22 27 0:21 / /proc rw shared:1 - proc proc rw',
    '27 1 254:0 / / rw - ext4 /dev/vda rw',
    '30 27 254:1 / /home/a\\040b rw - ext4 /dev/vdb rw',
    '31 27 254:2 / /usr rw - btrfs /dev/vdc rw',
    '32 31 254:3 / /usr/local rw - ext4 /dev/vdd rw',
    '33 27 0:40 /hosts /etc/hosts rw - tmpfs tmpfs rw',
    '34 27 0:41 / /run/user/0 rw - tmpfs tmpfs rw',
    '35 27 0:42 / /mnt/memory rw - tmpfs tmpfs rw',
    '36 27 254:4 / /tmp rw - ext4 /dev/vde rw',
    '',
  ].join('\n')
  const files = new Set(['/etc/hosts'])
  t.same(
    machineMounts(
      mountinfo,
      (path) => !files.has(path),
      (path) => files.has(path),
    ),
    { overlays: ['/usr', '/home/a b', '/usr/local'], copies: ['/etc/hosts'] },
  )
})

/** What containers that the process `launcher` started could leave on this machine. */
function leftovers(launcher: number | undefined): string[] {
  const scratch = `discobot-isolate-${launcher}-`
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  return [...mounts, ...readdirSync(tmpdir())].filter((line) => line.includes(scratch))
}

/** Gone, or dead and only not yet reaped by whoever inherited it. */
function isRunning(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
  } catch {
    return false
  }
}

function linesUntil(stream: NodeJS.ReadableStream, pattern: RegExp): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      text += chunk
      if (pattern.test(text)) resolve(text)
    })
    stream.once('end', () => reject(new Error(`ended before ${String(pattern)}: ${text}`)))
  })
}
