import { execFile, spawn } from 'node:child_process'
import { chmodSync, chownSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { startControlServer } from '../server.js'
import { askAgent, readLines } from '../client.js'
import type { AgentActions, ServiceVerb } from '../actions.js'
import { systemClock } from '../../process/clock.js'
import { keptLogger } from '../../logs/kept-logger.js'
import { LogStore } from '../../logs/log-store.js'
import { type Supervisor } from '../../services/supervisor.js'
import { BUILT } from '../../../test/lab/isolated.js'
import { makeLab, shell, shortFolder, waitFor, type Lab } from '../../../test/lab/service-lab.js'

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))
const TOKEN_HOLDER = fileURLToPath(new URL('token-holder.js', import.meta.url))
const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root to be asked by somebody else; CI has it'
const NOBODY = 65_534
const execute = promisify(execFile)

interface Controlled {
  readonly socketPath: string
  readonly supervisor: Supervisor
  readonly logs: LogStore
  /** What the agent itself was told. */
  readonly told: string[]
  /** As when the agent ends. */
  close(): Promise<void>
  /** Calls the command line; rejects with its code when it fails. */
  call(...args: string[]): Promise<string>
}

/** A control socket before real services, as the agent has it. */
async function control(
  t: { teardown(fn: () => unknown): unknown },
  token?: string,
  reload: () => Promise<void> = () => Promise.resolve(),
): Promise<Controlled> {
  const logs = new LogStore({ maxBytesPerService: 256 * 1024 })
  const { supervisor }: Lab = makeLab(t, { logger: keptLogger(silentListening(), logs, systemClock) })
  const told: string[] = []
  const changes: Readonly<Record<ServiceVerb, (name: string, signal: AbortSignal) => Promise<unknown>>> = {
    start: (name, signal) => supervisor.start(name, signal),
    stop: (name) => supervisor.stop(name),
    restart: (name, signal) => supervisor.restart(name, signal),
  }
  const actions: AgentActions = {
    logs,
    status: () => ({
      version: '0',
      pid: process.pid,
      uptimeMs: 0,
      phase: 'running',
      boot: [],
      services: supervisor.status(),
      reaper: { backend: 'not needed yet', reaped: 0, zombies: 0 },
      degraded: [],
    }),
    guards: (name) => supervisor.guards(name),
    change: async (name, verb, signal) => {
      await changes[verb](name, signal)
      return supervisor.statusOf(name)
    },
    signal: (signal, name) => {
      if (name !== undefined) return supervisor.signal(name, signal)
      told.push(signal)
      return true
    },
    reload: async () => {
      await reload()
      told.push('reload')
    },
  }
  const socketPath = join(shortFolder(t), 'agent.sock')
  const server = await startControlServer({
    socketPath,
    logger: silentLogger,
    actions,
    ownUid: process.getuid?.() ?? -1,
    ...(token === undefined ? {} : { token }),
  })
  t.teardown(() => server.close())
  const call = async (...args: string[]): Promise<string> => {
    const env = { PATH: process.env['PATH'], DISCOBOT_AGENT_SOCKET: socketPath }
    return (await execute(execPath, [MAIN, ...args], { env })).stdout
  }
  return { socketPath, supervisor, logs, told, call, close: () => server.close() }
}

/** Writes nothing, and yet is asked for every level. */
function silentListening(): typeof silentLogger {
  return { ...bare(), isLevelEnabled: () => true, child: () => silentListening() }
}

function bare(): Pick<typeof silentLogger, 'debug' | 'info' | 'warn' | 'error'> {
  const nothing = (): void => undefined
  return { debug: nothing, info: nothing, warn: nothing, error: nothing }
}

const WORK = 'trap "echo got usr1" USR1; trap "exit 0" TERM; echo up; while :; do sleep 0.02; done'

t.test('a service is started, stopped, started anew and signalled from the command line', async (t) => {
  const { supervisor, call, told, logs } = await control(t)
  supervisor.add(shell('web', WORK, { restart: 'always' }))
  t.match(await call('start', 'web'), /^web is ready, pid \d+\n$/)
  const ups = (): number => logs.last(99, 'web').filter(({ text }) => text === 'up').length
  await waitFor('the first word', () => ups() === 1)
  const before = supervisor.statusOf('web').pid
  t.match(await call('restart', 'web'), /^web is ready, pid \d+\n$/)
  t.not(supervisor.statusOf('web').pid, before)
  await waitFor('the second word', () => ups() === 2)
  t.equal(await call('signal', 'usr1', 'web'), '')
  await waitFor('the signal', () => logs.last(9, 'web').some(({ text }) => text === 'got usr1'))
  t.match(JSON.parse(await call('stop', 'web', '--json')), { name: 'web', state: 'stopped' })
  await t.rejects(call('signal', 'USR1', 'web'), { code: 1, stdout: 'web does not run\n' })
  await call('signal', 'SIGHUP')
  await call('reload')
  t.strictSame(told, ['SIGHUP', 'reload'])
})

t.test('what cannot be done is said with its reason and a code of its own', async (t) => {
  const broken = (): Promise<void> => Promise.reject(new Error('secret of the agent'))
  const { supervisor, call, socketPath } = await control(t, undefined, broken)
  supervisor.add(shell('doomed', 'echo no luck; exit 3'))
  supervisor.add(shell('late', 'exec sleep 60', { after: ['doomed'] }))
  await t.rejects(call('start', 'nothing'), { code: 1, stderr: /cannot find service "nothing": there are/ })
  await t.rejects(call('start', 'late'), { code: 1, stderr: /it needs doomed, which is stopped/ })
  await t.rejects(call('start'), { code: 2, stderr: /start needs SERVICE/ })
  await t.rejects(call('stop', 'a', 'b'), { code: 2, stderr: /unexpected argument "b"/ })
  await t.rejects(call('logs', '-n', 'many'), { code: 2, stderr: /-n takes a number/ })
  await t.rejects(call('logs', 'nothing'), {
    code: 1,
    stderr: /no service "nothing", only agent, doomed, late/,
  })
  await t.rejects(call('signal', 'KILL'), { code: 1, stderr: /without a service it may be HUP/ })
  const post = (path: string, body?: object): Promise<object> =>
    askAgent(socketPath, { method: 'POST', path, ...(body === undefined ? {} : { body }) })
  await t.rejects(post('/services/doomed/explode'), {
    code: 'CONTROL_FAILED',
    status: 404,
    problem: 'CONTROL_REQUEST_INVALID',
  })
  await t.rejects(post('/signal', { signal: 'NONE' }), { code: 'CONTROL_FAILED', status: 400 })
  await t.rejects(post('/signal', { signal: 'HUP', more: 1 }), { code: 'CONTROL_FAILED', status: 400 })
  await t.rejects(post('/signal', { signal: 'x'.repeat(5_000) }), { code: 'CONTROL_FAILED', status: 413 })
  await t.rejects(post('/reload'), {
    status: 500,
    message: 'the agent failed to answer; its log says why',
  })
  await t.rejects(askAgent(socketPath, { path: '/logs?lines=-1' }), { code: 'CONTROL_FAILED', status: 400 })
  await t.rejects(askAgent(socketPath, { path: '/logs?line=1' }), { code: 'CONTROL_FAILED', status: 400 })
})

t.test('healthy means that what the container is there for is ready, and the proxy', async (t) => {
  const { supervisor, call } = await control(t)
  await t.rejects(call('healthcheck'), { code: 1, stdout: 'there is nothing that it is here for\n' })
  supervisor.add(shell('main', WORK, { essential: true, restart: 'always' }))
  supervisor.add(shell('extra', 'exit 1'))
  await t.rejects(call('healthcheck'), { code: 1, stdout: 'main is stopped\n' })
  await supervisor.start('main')
  t.equal(await call('healthcheck'), 'healthy\n')
  supervisor.add(shell('proxy', WORK))
  await t.rejects(call('healthcheck', '--json'), {
    code: 1,
    stdout: '{"healthy":false,"complaints":["proxy is stopped"]}\n',
  })
  const nowhere = { env: { DISCOBOT_AGENT_SOCKET: '/nonexistent/agent.sock' } }
  await t.rejects(execute(execPath, [MAIN, 'healthcheck'], nowhere), { code: 1 })
})

t.test('the log of a service or of all is shown, in order, and followed', async (t) => {
  const { supervisor, call, socketPath, logs } = await control(t)
  supervisor.add(shell('a', 'for i in 1 2 3 4 5; do echo a$i; done; echo ae >&2; exec sleep 60'))
  supervisor.add(shell('b', 'printf "\\033[31mred\\r\\n"; read x; exec sleep 60'))
  await call('start', 'a')
  await waitFor('all lines', () => logs.last(9, 'a').length === 6)
  await call('start', 'b')
  await waitFor('the other', () => logs.last(9, 'b').length === 1)
  t.match(await call('logs', 'a', '-n', '2'), /^\S+Z INFO {2}a stdout a5\n\S+Z INFO {2}a stderr ae\n$/)
  t.match(await call('logs', 'b'), / b stdout \\u001b\[31mred\n$/, 'nothing colours the terminal')
  const all = (await call('logs', '--json'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { seq: number; service: string; time: string })
  t.strictSame(
    all.map(({ seq }) => seq),
    all.map((_, index) => index + 1),
  )
  t.ok(all.some(({ service }) => service === 'agent') && all.some(({ service }) => service === 'b'))

  const lines: string[] = []
  const over = new AbortController()
  const followed = readLines(
    socketPath,
    { path: '/logs?service=a&lines=1&follow=1', signal: over.signal },
    (line) => void lines.push(line),
  )
  await waitFor('the line before', () => lines.length === 1)
  await call('restart', 'a')
  await waitFor('the lines after', () => lines.length === 7)
  over.abort()
  await followed
  t.match(
    lines.map((line) => (JSON.parse(line) as { text: string }).text),
    ['ae', 'a1', 'a2', 'a3', 'a4', 'a5', 'ae'],
  )
  const last = JSON.parse(lines[5] ?? '') as { seq: number }
  const after: string[] = []
  await readLines(socketPath, { path: `/logs?service=a&after=${last.seq}` }, (line) => void after.push(line))
  t.strictSame(after, lines.slice(6), 'what came after a line can be asked for')
})

t.test('a follower that does not read costs nobody anything, and is told that it missed lines', async (t) => {
  const { socketPath, logs } = await control(t)
  const slow = connect(socketPath)
  slow.on('error', () => undefined)
  const add = (text: string): void =>
    logs.add({ time: 0, service: 'loud', stream: 'stdout', level: 'info', text })
  add('first')
  slow.write('GET /logs?service=loud&follow=1 HTTP/1.1\r\nhost: x\r\n\r\n')
  await new Promise((resolve) => slow.once('readable', resolve))
  slow.pause()
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 100; i += 1) {
    for (let j = 0; j < 200; j += 1) add(`${i * 200 + j} ${'x'.repeat(1_000)}`)
    await new Promise(setImmediate)
  }
  t.ok(process.memoryUsage().arrayBuffers - before < 8 * 1024 * 1024, 'nothing piles up for the slow one')
  add('last')
  let text = ''
  slow
    .setEncoding('utf8')
    .on('data', (chunk: string) => (text += chunk))
    .resume()
  await waitFor('the end', () => text.includes('"last"'))
  t.match(text, '{"lost":true}')
  slow.destroy()
})

t.test('who follows the log when the agent ends has read it to its end', async (t) => {
  const { call, close, logs } = await control(t)
  logs.add({ time: 0, service: 'agent', stream: 'agent', level: 'info', text: 'stopping' })
  const following = call('logs', '-f', 'agent')
  await waitFor('the follower', () => logs.listeners === 1)
  await close()
  t.match(await following, / agent stopping\n$/)
})

t.test('many who follow are refused before they are too many', async (t) => {
  const { socketPath } = await control(t)
  const over = new AbortController()
  const path = '/logs?follow=1'
  const followers = Array.from({ length: 32 }, () => {
    const socket = connect(socketPath)
    socket.on('error', () => undefined)
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
    return new Promise<typeof socket>((resolve) => socket.once('data', () => resolve(socket)))
  })
  const sockets = await Promise.all(followers)
  await t.rejects(
    readLines(socketPath, { path, signal: over.signal }, () => undefined),
    { code: 'CONTROL_FAILED', status: 429 },
  )
  sockets[0]?.destroy()
  await waitFor('a place', () => sockets[0]?.closed)
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
})

t.test(
  'only root changes anything; the account with the token changes services',
  { skip: NEEDS_ROOT },
  async (t) => {
    const token = 'a-token-of-this-test'
    const { supervisor, socketPath, logs, told } = await control(t, token)
    // Whoever is in the group of the socket comes this far.
    chmodSync(dirname(socketPath), 0o755)
    chownSync(socketPath, 0, NOBODY)
    supervisor.add(shell('web', WORK, { restart: 'always' }))
    await supervisor.start('web')
    supervisor.add(shell('guard', WORK, { guards: true }))
    await supervisor.start('guard')
    const guard = supervisor.statusOf('guard').pid
    const before = supervisor.statusOf('web').pid
    const command = [execPath, TOKEN_HOLDER, socketPath, 'web'] as const
    supervisor.add(
      shell('holder', '', {
        command,
        cwd: BUILT,
        user: 'nobody',
        env: { PATH: process.env['PATH'] ?? '', DISCOBOT_HANDOVER_FD: '3' },
        handover: { fd: 3, given: Promise.resolve(JSON.stringify({ token, env: {} })) },
      }),
    )
    await supervisor.start('holder')
    const said = await waitFor('the report', () => logs.last(1, 'holder')[0]?.text)
    t.strictSame(JSON.parse(said), {
      uid: NOBODY,
      inEnvironment: false,
      descriptorOpen: false,
      restart: 'done',
      restartOfGuard: 'CONTROL_REFUSED',
      stopOfGuard: 'CONTROL_REFUSED',
      restartWithout: 'CONTROL_REFUSED',
      restartWithAnother: 'CONTROL_REFUSED',
      signal: 'CONTROL_REFUSED',
      reload: 'CONTROL_REFUSED',
      look: 'done',
    })
    t.not(supervisor.statusOf('web').pid, before)
    t.equal(supervisor.statusOf('guard').pid, guard, 'what guards the account is not for it to change')
    t.strictSame(told, [])
  },
)

t.test('whoever is neither root nor of the group is not even heard', { skip: NEEDS_ROOT }, async (t) => {
  const { socketPath } = await control(t)
  chmodSync(dirname(socketPath), 0o755)
  const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', execPath, MAIN, 'status']
  const child = spawn('setpriv', asNobody, { env: { DISCOBOT_AGENT_SOCKET: socketPath }, cwd: '/' })
  let errors = ''
  child.stderr.on('data', (chunk) => (errors += String(chunk)))
  t.equal(await new Promise((resolve) => child.on('close', resolve)), 1)
  t.match(errors, /permission denied; it is for root and the members of the group/)
})
