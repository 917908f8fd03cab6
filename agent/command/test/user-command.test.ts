import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { CommandScreen } from '../command-screen.js'
import { isMissing, userWords } from '../command-words.js'
import { UserCommand } from '../user-command.js'
import { ChildRegistry } from '../../process/children.js'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { BUILT, startIsolated } from '../../../test/lab/isolated.js'
import { shortFolder, waitFor } from '../../../test/lab/service-lab.js'

// `docker run IMAGE bash`: the words are run when all is up, as if there were nothing but them.

const MAIN = join(BUILT, 'agent/main.js')

interface Run {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  readonly code: Promise<number | null>
}

/** @param through what runs the agent, with its command line behind it. */
function start(
  t: Test,
  words: readonly string[],
  through: (command: readonly string[]) => readonly string[] = (command) => command,
  more: NodeJS.ProcessEnv = {},
): Run {
  const folder = shortFolder(t)
  mkdirSync(join(folder, 'home'))
  const [program = '', ...args] = through([execPath, MAIN, 'run', '--', ...words])
  const child = spawn(program, args, {
    env: {
      PATH: process.env['PATH'],
      HOME: join(folder, 'home'),
      TERM: 'xterm',
      DISCOBOT_DATA_DIR: join(folder, 'data'),
      DISCOBOT_PROXY: 'off',
      DISCOBOT_AGENT_COMMAND: '["sleep","1000"]',
      DISCOBOT_API_TOKEN: 'a-token-that-nobody-is-to-see',
      ...more,
    },
    cwd: folder,
    stdio: 'pipe',
  })
  const text = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => (text.stdout += String(chunk)))
  child.stderr.on('data', (chunk) => (text.stderr += String(chunk)))
  const code = new Promise<number | null>((resolve) => child.once('close', (ended) => resolve(ended)))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await code
  })
  return { child, stdout: () => text.stdout, stderr: () => text.stderr, code }
}

void t.test('it has the standard streams to itself, and its exit code is ours', async (t) => {
  const run = start(t, ['sh', '-c', 'cat; echo wrong >&2; env >&2; exit 7', '--json', '-v'])
  run.child.stdin?.end('what was sent')
  t.equal(await run.code, 7)
  t.equal(run.stdout(), 'what was sent')
  t.match(run.stderr(), /^wrong\n/)
  t.notMatch(run.stderr(), / INFO | DEBUG |is up|a-token-that/)

  const options = start(t, ['printf', '%s,', '--json', '-h', '--', 'x'])
  t.equal(await options.code, 0)
  t.equal(options.stdout(), '--json,-h,--,x,')

  const missing = start(t, ['./no-such-program'])
  t.equal(await missing.code, 127)
  t.equal(missing.stdout(), '')
})

void t.test('pipes stay as other programs expect them', async (t) => {
  const run = start(t, ['sh', '-c', 'cat /proc/$$/fdinfo/1 /proc/$$/fdinfo/2'], (command) => [
    'sh',
    '-c',
    '{ "$@" 2>&1; } | cat',
    'sh',
    ...command,
  ])
  t.equal(await run.code, 0)
  const flags = [...run.stdout().matchAll(/^flags:\s+0?(\d+)$/gm)].map(([, octal = '']) => parseInt(octal, 8))
  t.equal(flags.length, 2)
  for (const value of flags) t.equal(value & 0o4000, 0, 'O_NONBLOCK is not set')
})

void t.test('signals are its own, and one that asks to stop ends it first', async (t) => {
  const names = ['HUP', 'INT', 'QUIT', 'USR1', 'USR2', 'WINCH']
  const traps = names.map((name) => `trap "echo got ${name}" ${name}`).join('; ')
  const run = start(t, [
    'sh',
    '-c',
    `${traps}; trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.02; done`,
  ])
  await waitFor('the command', () => run.stdout().includes('up'))
  for (const name of names) {
    run.child.kill(`SIG${name}` as NodeJS.Signals)
    await waitFor(name, () => run.stdout().includes(`got ${name}`))
  }
  run.child.kill('SIGTERM')
  t.equal(await run.code, 3)
  t.equal(run.stdout(), `up\n${names.map((name) => `got ${name}\n`).join('')}bye\n`)

  const plain = start(t, ['sh', '-c', 'echo up; exec sleep 1000'])
  await waitFor('the command', () => plain.stdout().includes('up'))
  plain.child.kill('SIGINT')
  t.equal(await plain.code, 130, 'as a shell says it')

  const stubborn = start(
    t,
    ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done'],
    (command) => command,
    { DISCOBOT_LOG_LEVEL: 'info' },
  )
  await waitFor('the command', () => stubborn.stdout().includes('up'))
  stubborn.child.kill('SIGTERM')
  // The kernel makes one signal of two that wait.
  await waitFor('the first', () => / stopping +signal=SIGTERM/.test(stubborn.stderr()))
  stubborn.child.kill('SIGTERM')
  t.equal(await stubborn.code, 137, 'whoever asks twice does not wait')
})

void t.test('it is not started any more once it was asked to end', async (t) => {
  const folder = shortFolder(t)
  const mark = join(folder, 'mark')
  const command = new UserCommand({
    words: ['touch', mark],
    children: new ChildRegistry(),
    screen: new CommandScreen(silentLogger, 'info', false),
    logger: silentLogger,
  })
  await command.end(1_000)
  t.equal(await command.run({ PATH: process.env['PATH'] ?? '' }, [folder]), 143)
  t.notOk(existsSync(mark))
})

/** At a terminal of its own; what is written to its standard input is typed. */
const atTerminal = (command: readonly string[]): readonly string[] => [
  'script',
  '-qefc',
  // Without a shell in between, which would end by the key as well.
  `exec ${command.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(' ')}`,
  '/dev/null',
]

void t.test('at a terminal a shell has job control, and a key is pressed once', async (t) => {
  const shell = start(t, ['bash', '--norc', '-i'], atTerminal)
  shell.child.stdin?.write('PS1="ready> "; echo $((6*7)); [ -t 0 ] && echo a terminal\n')
  await waitFor('the shell', () => /^42\r?\na terminal\r?\n/m.test(shell.stdout()))
  t.notMatch(shell.stdout(), /job control|INFO|is up/)
  // One process, so that no moment is between two of them.
  shell.child.stdin?.write(`${execPath} -e 'console.log("begun"); setInterval(() => 0, 1000)'\n`)
  await waitFor('the program', () => /^begun\r?$/m.test(shell.stdout()))
  const prompts = (): number => shell.stdout().match(/ready> /g)?.length ?? 0
  const before = prompts()
  shell.child.stdin?.write('\u0003')
  // A key that interrupts throws away what was typed behind it.
  await waitFor('the prompt', () => prompts() > before)
  shell.child.stdin?.write('echo after $?\n')
  await waitFor('the key', () => /after 130/.test(shell.stdout()))
  shell.child.stdin?.write('exit 5\n')
  t.equal(await shell.code, 5)

  // No shell: what dash makes of its exit in a trap depends on the moment.
  const program =
    'let n = 0; process.on("SIGINT", () => { console.log("got"); if (++n === 2) process.exit(9) }); console.log("up"); setInterval(() => n, 1000)'
  const keys = start(t, [execPath, '-e', program], atTerminal)
  await waitFor('the command', () => keys.stdout().includes('up'))
  keys.child.stdin?.write('\u0003')
  await waitFor('the first', () => keys.stdout().includes('got'))
  keys.child.stdin?.write('\u0003')
  t.equal(await keys.code, 9)
  t.equal(keys.stdout().match(/got/g)?.length, 2)
})

void t.test('a shell at a terminal does not hold up a stop', async (t) => {
  const shell = start(t, ['bash', '--norc', '-i'], atTerminal)
  shell.child.stdin?.write('echo pid=$PPID\n')
  await waitFor('the shell', () => /^pid=\d+/m.test(shell.stdout()))
  const began = performance.now()
  process.kill(Number(/^pid=(\d+)/m.exec(shell.stdout())?.[1]), 'SIGTERM')
  t.equal(await shell.code, 129, 'its terminal hung up')
  t.ok(performance.now() - began < 8_000, 'well before it would be killed')
})

void t.test('words are a command where they can only be one', async (t) => {
  const folder = shortFolder(t)
  const controlSocket = join(folder, 'agent.sock')
  const ours = ['run', 'status']
  const one = { pid: 1, parentPid: 0, ofImage: true, controlSocket }
  const underInit = { ...one, pid: 7, parentPid: 1 }
  t.strictSame(await userWords(['bash', '-l'], ours, one), ['bash', '-l'])
  t.strictSame(await userWords(['bash'], ours, underInit), ['bash'], 'docker run --init')
  t.strictSame(await userWords(['--', 'status'], ours, one), ['status'])
  t.strictSame(await userWords(['run', '--', 'bash'], ours, { ...one, pid: 9, ofImage: false }), ['bash'])
  for (const args of [[], ['status'], ['--json'], ['run', 'status'], ['--'], ['run', '--']])
    t.equal(await userWords(args, ours, one), undefined, args.join(' '))
  t.equal(await userWords(['statsu'], ours, { ...one, pid: 9, ofImage: false }), undefined, 'a machine')
  t.equal(await userWords(['statsu'], ours, { ...one, pid: 9, parentPid: 8 }), undefined, 'a shell inside')
  const server = createServer((socket) => socket.destroy()).listen(controlSocket)
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  t.equal(await userWords(['statsu'], ours, { ...one, pid: 9 }), undefined, 'docker exec')
  t.ok(isMissing(['statsu'], '/usr/bin:/bin'))
  t.notOk(isMissing(['sh'], '/usr/bin:/bin'))
  t.notOk(isMissing(['./statsu'], '/usr/bin'), 'the workspace is not there yet')
})

void t.test(
  'in a container it runs as the user, in the workspace, by way of the proxy',
  { skip: NEEDS_ROOT },
  async (t) => {
    const env = {
      DISCOBOT_DOCKER: 'off',
      DISCOBOT_SECRET_KEY: 'hidden-value',
      DISCOBOT_GIT_TOKEN: 'hidden-too',
    }
    const container = await startIsolated(t, {
      env,
      command: [
        execPath,
        MAIN,
        'sh',
        '-c',
        'id -un; pwd; echo "$HOME $HTTPS_PROXY"; curl -sS -o /dev/null -w "%{http_code}\\n" http://127.0.0.1:3002/api/status; echo to the terminal > /dev/stderr; env; exit 4',
      ],
    })
    t.equal(await container.exited, 4)
    t.match(
      container.logs(),
      /^discobot\n\/home\/discobot\/workspace\n\/home\/discobot http:\/\/127\.0\.0\.1:17080\n200\n/m,
    )
    t.notMatch(container.logs(), /hidden-| INFO |is up/)
    t.match(container.logs(), /^DISCOBOT_WORKSPACE_PATH=/m)

    const mistyped = await startIsolated(t, { env, command: [execPath, MAIN, 'statsu'] })
    t.equal(await mistyped.exited, 127)
    t.match(mistyped.logs(), /cannot run "statsu": no such program on PATH; .*did you mean "status"\?/)
  },
)
