import { execFileSync } from 'node:child_process'
import { chmodSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import { CUT_MARK, LineSplitter, MAX_LINE_BYTES } from '../line-splitter.js'
import { ServiceProcess } from '../process.js'
import { commandAs, findAccount } from '../../process/run-as.js'
import { recordingLogger, shell, waitFor } from '../../../test/lab/service-lab.js'

t.test('a flood is read to its end, line by line, tagged with service and stream', async (t) => {
  const logger = recordingLogger()
  const spec = shell('flood', 'seq 1 200000; echo "that was it" >&2; head -c 200000 /dev/zero | tr "\\0" x')
  const child = new ServiceProcess(spec, 'flood', {
    children: new ChildRegistry(),
    clock: systemClock,
    logger,
  })
  t.match(await child.ended, { kind: 'exited', code: 0 })
  await child.drained()
  const of = (stream: string): string[] =>
    logger.lines
      .filter(({ fields }) => fields['service'] === 'flood' && fields['stream'] === stream)
      .map((line) => line.message)
  const output = of('stdout')
  t.strictSame(of('stderr'), ['that was it'])
  t.equal(output.length, 200_004)
  t.equal(output[199_999], '200000')
  t.strictSame(
    output.slice(200_000).map((line) => line.length),
    [MAX_LINE_BYTES + 1, MAX_LINE_BYTES + 1, MAX_LINE_BYTES + 1, 200_000 - 3 * MAX_LINE_BYTES],
  )
  t.ok(output[200_000]?.endsWith(`x${CUT_MARK}`), 'a line that goes on is marked')
})

t.test('a line is never cut within a character, and what is no UTF-8 harms nothing', async (t) => {
  for (const character of ['é', '€', '😀']) {
    for (const before of ['', 'a', 'aa', 'aaa']) {
      const lines: string[] = []
      const splitter = new LineSplitter((line) => lines.push(line))
      const text = before + character.repeat(MAX_LINE_BYTES / 2)
      splitter.push(Buffer.from(`${text}\n`))
      t.equal(lines.join('').replaceAll(CUT_MARK, ''), text, `${character} after ${before}`)
      t.ok(lines.every((line) => Buffer.byteLength(line) <= MAX_LINE_BYTES + 3))
    }
  }
  const lines: string[] = []
  const splitter = new LineSplitter((line) => lines.push(line))
  splitter.push(Buffer.from([0xff, 0xfe, 0x0a, 0xe2, 0x82, 0x0a]))
  splitter.push(Buffer.alloc(2 * MAX_LINE_BYTES, 0x80))
  splitter.flush()
  t.strictSame(lines.slice(0, 2), ['\ufffd\ufffd', '\ufffd'])
  t.equal(lines.length, 4)
})

t.test('lines come out the same however the bytes arrive', async (t) => {
  const text = 'one\r\ntwo\n\nthrée\nno end'
  for (const size of [1, 2, 3, 7, 100]) {
    const lines: string[] = []
    const splitter = new LineSplitter((line) => lines.push(line))
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += size) splitter.push(bytes.subarray(at, at + size))
    splitter.flush()
    t.strictSame(lines, ['one', 'two', 'thrée', 'no end'], `${size} at a time`)
  }
})

t.test('each service is the leader of a session of its own and inherits nothing', async (t) => {
  const logger = recordingLogger()
  const spec = shell('own', 'echo $$ $(cut -d" " -f5,6 /proc/$$/stat); env | cut -d= -f1 | sort', {
    env: { PATH: '/usr/bin:/bin', A: 'b' },
  })
  const child = new ServiceProcess(spec, 'own', { children: new ChildRegistry(), clock: systemClock, logger })
  await child.ended
  await child.drained()
  const [ids, ...names] = logger.lines.map((line) => line.message)
  t.equal(ids, `${child.pid} ${child.pid} ${child.pid}`)
  t.strictSame(
    names.filter((name) => name !== '_'),
    ['A', 'DISCOBOT_SERVICE', 'PATH', 'PWD'],
  )
})

t.test('one that stops itself is told alone, and has its time to end the rest in order', async (t) => {
  const wrapped = 'sh -c \'trap "echo told" TERM; echo ready; while :; do sleep 0.05; done\' & rest=$!'
  const ends = `${wrapped}; trap 'echo asked; kill -9 $rest; exit 0' TERM; wait; wait`
  for (const more of [{ stopsItself: true }, {}] as const) {
    const logger = recordingLogger()
    const spec = shell('own', ends, more)
    const child = new ServiceProcess(spec, 'own', {
      children: new ChildRegistry(),
      clock: systemClock,
      logger,
    })
    const said = (): string[] => logger.lines.map(({ message }) => message)
    await waitFor('its rest', () => said().includes('ready'))
    t.equal(await child.end(5_000, new AbortController().signal), 'ended')
    await child.drained()
    t.ok(said().includes('asked'))
    if ('stopsItself' in more) t.notOk(said().includes('told'), 'the rest hears of it from its leader')
  }
  // A leader that is gone can tell nobody.
  const logger = recordingLogger()
  const spec = shell('own', `${wrapped}; wait`, { stopsItself: true })
  const child = new ServiceProcess(spec, 'own', { children: new ChildRegistry(), clock: systemClock, logger })
  await waitFor('its rest', () => logger.lines.some(({ message }) => message === 'ready'))
  child.signal('SIGKILL')
  await child.ended
  t.equal(await child.end(300, new AbortController().signal), 'killed')
  await child.drained()
  t.ok(logger.lines.some(({ message }) => message === 'told'))
})

const PASSWD = 'root:x:0:0:root:/root:/bin/sh\ndiscobot:x:1000:1001::/home/discobot:/bin/bash\n'

t.test(
  'another account is taken on with setpriv, and refused with a reason where that is impossible',
  async (t) => {
    const folder = t.testdir({ passwd: PASSWD, setpriv: '', busybox: '' })
    const passwdPath = join(folder, 'passwd')
    const setpriv = join(folder, 'setpriv')
    const busybox = join(folder, 'busybox')
    const link = join(folder, 'link')
    chmodSync(setpriv, 0o755)
    chmodSync(busybox, 0o755)
    symlinkSync(busybox, link)
    const deps = { ownUid: 0, passwdPath, setprivPaths: [link, setpriv] }
    t.strictSame(commandAs('discobot', ['node', '--reuid=0'], deps), [
      setpriv,
      '--reuid=1000',
      '--regid=1001',
      '--init-groups',
      '--inh-caps=-all',
      '--',
      'node',
      '--reuid=0',
    ])
    t.strictSame(commandAs('root', ['node'], deps), ['node'])
    t.strictSame(commandAs('discobot', ['node'], { ...deps, ownUid: 1000 }), ['node'])
    t.throws(() => commandAs('nobody', ['node'], deps), {
      code: 'USER_SWITCH_IMPOSSIBLE',
      message: `cannot run as "nobody": there is no such account in ${passwdPath}`,
    })
    t.throws(() => commandAs('root', ['node'], { ...deps, ownUid: 1000 }), { message: /only root can/ })
    t.throws(() => commandAs('discobot', ['node'], { ...deps, setprivPaths: [link] }), {
      message: `cannot run as "discobot": util-linux's setpriv is not installed (looked for ${link})`,
    })
    t.match(findAccount(PASSWD, 'discobot'), { uid: 1000, gid: 1001, home: '/home/discobot' })
  },
)

const notRoot = process.getuid?.() === 0 ? false : 'needs root to become somebody else; CI has it'

t.test(
  'a service runs as its user, with its groups and without capabilities',
  { skip: notRoot },
  async (t) => {
    const logger = recordingLogger()
    const spec = shell('as', 'id -un; id -G; grep ^CapEff /proc/self/status; exit 7', { user: 'nobody' })
    const child = new ServiceProcess(spec, 'as', {
      children: new ChildRegistry(),
      clock: systemClock,
      logger,
    })
    t.strictSame(await child.ended, { kind: 'exited', code: 7 })
    await child.drained()
    t.strictSame(
      logger.lines.map((line) => line.message),
      [
        'nobody',
        execFileSync('id', ['-G', 'nobody'], { encoding: 'utf8' }).trim(),
        'CapEff:\t0000000000000000',
      ],
    )
  },
)
