import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { sendSignal } from '../../process/send-signal.js'
import { transition } from '../state.js'
import { FailureHistory, DEFAULT_RESTART_POLICY } from '../restart-policy.js'
import { makeLab, script, shell, shortFolder, waitFor, type Lab } from '../../../test/lab/service-lab.js'

const QUICK = { ...DEFAULT_RESTART_POLICY, firstDelayMs: 50, maxDelayMs: 100, failuresAllowed: 4 }

/** A server that is up after `delayMs`, answers `status`, and says so. */
const server = (port: number, status = 200, delayMs = 0): string => `setTimeout(() => require('http')
  .createServer((q, r) => { r.statusCode = ${status}; r.end() })
  .listen(${port}, '127.0.0.1', () => console.log('listening')), ${delayMs})`

async function freePort(): Promise<number> {
  const probe = createTcpServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

function statusOf(lab: Lab, name: string): ReturnType<Lab['supervisor']['status']>[number] {
  const status = lab.supervisor.status().find((service) => service.name === name)
  if (status === undefined) throw new Error(`no ${name}`)
  return status
}

const isAlive = (pid: number): boolean => sendSignal(pid, 0)

/** Nobody reaps what it orphans here, so a zombie counts as gone. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

t.test('ready means a 2xx answer, by HTTP over TCP and over a Unix socket', async (t) => {
  const lab = makeLab(t)
  const port = await freePort()
  const socketPath = join(shortFolder(t), 'web.sock')
  lab.supervisor.add(
    script('web', server(port, 204, 100), {
      readiness: { kind: 'http', url: `http://127.0.0.1:${port}/health` },
    }),
  )
  const unix = `require('http').createServer((q, r) => r.end(q.url)).listen(${JSON.stringify(socketPath)})`
  lab.supervisor.add(script('unix', unix, { readiness: { kind: 'unix-http', socketPath, path: '/_ping' } }))
  await Promise.all([lab.supervisor.start('web'), lab.supervisor.start('unix')])
  t.match(lab.supervisor.status(), [
    { name: 'web', state: 'ready', pid: Number, restarts: 0 },
    { name: 'unix', state: 'ready', pid: Number, restarts: 0 },
  ])
  t.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 204)
})

t.test(
  'a service that answers with errors is not ready; it is ended and counts as a failed start',
  async (t) => {
    const lab = makeLab(t)
    const port = await freePort()
    const url = `http://127.0.0.1:${port}/`
    lab.supervisor.add(
      script('ill', server(port, 503), { readiness: { kind: 'http', url }, readyTimeoutMs: 700 }),
    )
    await t.rejects(lab.supervisor.start('ill'), {
      code: 'SERVICE_START_FAILED',
      message: `cannot start ill: no answer from ${url} within 700 ms (it answered 503): listening`,
    })
    await waitFor('the end', () => statusOf(lab, 'ill').state === 'failed')
    await t.rejects(fetch(url), 'nothing listens any more')
  },
)

t.test('a stranger on the port is not taken for the service', async (t) => {
  const lab = makeLab(t)
  const stranger = createServer((_request, response) => response.end('hello'))
  await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve))
  t.teardown(() => stranger.close())
  const { port } = stranger.address() as AddressInfo
  lab.supervisor.add(
    shell('late', 'echo ran; sleep 30', { readiness: { kind: 'tcp', host: '127.0.0.1', port } }),
  )
  await t.rejects(lab.supervisor.start('late'), {
    message: `cannot start late: something else already listens at 127.0.0.1:${port}`,
  })
  t.strictSame(lab.said('late'), [])
})

t.test('a start that fails says what the process said last', async (t) => {
  const lab = makeLab(t)
  const readiness = { kind: 'tcp', host: '127.0.0.1', port: await freePort() } as const
  lab.supervisor.add(
    shell('broken', 'echo hello; echo "config.yaml:3:1: unknown key" >&2; exit 3', { readiness }),
  )
  await t.rejects(lab.supervisor.start('broken'), {
    message: 'cannot start broken: exit code 3 before it was ready: config.yaml:3:1: unknown key',
    end: { kind: 'exited', code: 3 },
  })
  t.match(statusOf(lab, 'broken'), { state: 'failed', lastExit: 'exit code 3' })
})

t.test('a service killed with -9 comes back', async (t) => {
  const lab = makeLab(t, { policy: QUICK })
  lab.supervisor.add(shell('hardy', 'echo up; exec sleep 60', { restart: 'always' }))
  await lab.supervisor.start('hardy')
  const first = statusOf(lab, 'hardy').pid ?? 0
  process.kill(first, 'SIGKILL')
  const second = await waitFor('another pid', () => {
    const { state, pid } = statusOf(lab, 'hardy')
    return state === 'ready' && pid !== first && pid
  })
  t.not(second, first)
  t.match(statusOf(lab, 'hardy'), { restarts: 1, lastExit: 'SIGKILL' })
})

t.test('every service killed with -9 in turn, 20 times, is back, and the others never notice', async (t) => {
  const policy = { ...QUICK, maxDelayMs: 60, failuresAllowed: 100 }
  const lab = makeLab(t, { policy })
  const names = ['proxy', 'dockerd', 'agent-api']
  for (const name of names) {
    const after = name === 'proxy' ? [] : ['proxy']
    lab.supervisor.add(shell(name, 'exec sleep 600', { restart: 'always', after }))
    await lab.supervisor.start(name)
  }
  for (let round = 1; round <= 20; round += 1) {
    for (const name of names) {
      const others = lab.supervisor.status().filter((service) => service.name !== name)
      const before = statusOf(lab, name).pid ?? 0
      process.kill(before, 'SIGKILL')
      const killedAt = performance.now()
      await waitFor('the next one', () => {
        const { state, pid } = statusOf(lab, name)
        return state === 'ready' && pid !== undefined && pid !== before
      })
      const tookMs = performance.now() - killedAt
      if (tookMs > policy.maxDelayMs + 1_000) t.fail(`${name} was back only after ${tookMs} ms`)
      t.strictSame(
        lab.supervisor.status().filter((service) => service.name !== name),
        others,
      )
    }
  }
  t.match(
    lab.supervisor.status(),
    names.map(() => ({ state: 'ready', restarts: 20, lastExit: 'SIGKILL' })),
  )
})

t.test('restart rules: what ends well or badly is started again, or not', async (t) => {
  const cases = [
    ['always', 0, 'again'],
    ['always', 1, 'again'],
    ['on-failure', 0, 'stopped'],
    ['on-failure', 1, 'again'],
    ['never', 0, 'stopped'],
    ['never', 1, 'failed'],
  ] as const
  const lab = makeLab(t, { policy: QUICK })
  for (const [restart, code, expected] of cases) {
    const name = `${restart}-${code}`
    lab.supervisor.add(shell(name, `sleep 0.05; exit ${code}`, { restart }))
    await lab.supervisor.start(name)
    if (expected === 'again') await waitFor(name, () => statusOf(lab, name).restarts > 0)
    else await waitFor(name, () => statusOf(lab, name).state === expected)
    t.match(statusOf(lab, name).lastExit, `exit code ${code}`, `${name}: ${expected}`)
  }
})

t.test('a service that keeps failing is given up; a program that is not there at once', async (t) => {
  const lab = makeLab(t, { policy: QUICK })
  lab.supervisor.add(shell('hopeless', 'sleep 0.02; exit 9', { restart: 'always', essential: true }))
  lab.supervisor.add(
    shell('absent', '', { command: ['/no/such/program'], restart: 'always', essential: true }),
  )
  await lab.supervisor.start('hopeless')
  await t.rejects(lab.supervisor.start('absent'), {
    message: 'cannot start absent: /no/such/program is not found',
  })
  await waitFor('both to fail', () => lab.failures.length === 2)
  t.match(lab.failures, [
    { service: 'absent', exitCode: 127 },
    { service: 'hopeless', exitCode: 9, reason: 'failed too often; at last: exit code 9' },
  ])
  t.match(statusOf(lab, 'hopeless'), { state: 'failed', restarts: QUICK.failuresAllowed - 1 })
})

t.test('it is started again only when nothing of the old group runs', async (t) => {
  const lab = makeLab(t, { policy: QUICK })
  const folder = t.testdir()
  // Ignores SIGTERM for as long as it lives, which is longer than the delay before a restart.
  const stubborn = `trap "" TERM; (echo $$ >> ${folder}/leaders; while :; do sleep 0.02; done) & echo $! >> ${folder}/members; sleep 0.1; exit 1`
  lab.supervisor.add(shell('crowd', stubborn, { restart: 'always', stopGraceMs: 600 }))
  const startedAt = performance.now()
  await lab.supervisor.start('crowd')
  const member = await waitFor(
    'the member',
    () => existsSync(`${folder}/members`) && Number(readFileSync(`${folder}/members`, 'utf8').split('\n')[0]),
  )
  await waitFor('backing off', () => statusOf(lab, 'crowd').state === 'backing-off')
  t.ok(isRunning(member), 'a member outlives its leader')
  await waitFor('the second start', () => statusOf(lab, 'crowd').restarts === 1)
  t.ok(performance.now() - startedAt >= 600, 'the member had its grace')
  t.notOk(isRunning(member), 'the member is gone before the second start')
})

t.test('stopped while starting or backing off, it never comes back', async (t) => {
  const lab = makeLab(t, { policy: { ...QUICK, firstDelayMs: 300, maxDelayMs: 300 } })
  const readiness = { kind: 'tcp', host: '127.0.0.1', port: await freePort() } as const
  const runs = join(t.testdir({ runs: '' }), 'runs')
  lab.supervisor.add(shell('slow', `echo run >> ${runs}; sleep 60`, { readiness, restart: 'always' }))
  lab.supervisor.add(shell('dies', `echo run >> ${runs}; exit 1`, { restart: 'always' }))
  const starting = lab.supervisor.start('slow')
  const refused = t.rejects(starting, { message: 'cannot start slow: it was stopped' })
  const pid = await waitFor('a process', () => statusOf(lab, 'slow').pid)
  await lab.supervisor.start('dies')
  await waitFor('backing off', () => statusOf(lab, 'dies').state === 'backing-off')
  await Promise.all([lab.supervisor.stop('slow'), lab.supervisor.stop('dies')])
  await refused
  t.notOk(isAlive(pid))
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.equal(readFileSync(runs, 'utf8'), 'run\nrun\n')
  t.match(lab.supervisor.status(), [{ state: 'stopped' }, { state: 'stopped' }])
  writeFileSync(runs, '')
  await lab.supervisor.start('dies')
  await waitFor('a run after a new start', () => readFileSync(runs, 'utf8') !== '')
})

t.test('a start that is called off rejects, and the service is left to be stopped', async (t) => {
  const lab = makeLab(t)
  const readiness = { kind: 'tcp', host: '127.0.0.1', port: await freePort() } as const
  lab.supervisor.add(shell('slow', 'sleep 60', { readiness }))
  const off = new AbortController()
  const starting = lab.supervisor.start('slow', off.signal)
  off.abort()
  await t.rejects(starting, { message: 'cannot start slow: the start was called off' })
  t.equal(statusOf(lab, 'slow').state, 'starting')
})

t.test(
  'delays double from half a second to half a minute, less a little, and start anew after peace',
  async (t) => {
    const history = new FailureHistory({ ...DEFAULT_RESTART_POLICY, failuresAllowed: 100 }, () => 0)
    const delays = Array.from({ length: 8 }, (_, index) => history.record(index, 0))
    t.strictSame(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
    t.equal(history.record(9, 30_000), 500)
    const jittered = new FailureHistory(DEFAULT_RESTART_POLICY, () => 0.999)
    t.ok((jittered.record(0, 0) ?? 0) >= 375)
    const window = new FailureHistory(DEFAULT_RESTART_POLICY, () => 0)
    for (let index = 0; index < 9; index += 1) window.record(index, 0)
    t.equal(window.record(300_010, 0), 30_000, 'failures of more than five minutes ago do not count')
    for (let index = 0; index < 8; index += 1) window.record(300_011 + index, 0)
    t.equal(window.record(300_020, 0), undefined, 'ten within five minutes are enough')
    const slow = new FailureHistory(DEFAULT_RESTART_POLICY, () => 0)
    for (let index = 1; index < 30; index += 1) t.equal(slow.record(index * 30_500, 30_000), 500)
  },
)

t.test('states follow each other only as they may', async (t) => {
  t.equal(transition('stopped', 'start'), 'starting')
  t.equal(transition('starting', 'stop'), 'stopping')
  t.equal(transition('backing-off', 'stop'), 'stopping')
  t.throws(() => transition('stopping', 'ready'), /a service that is stopping cannot ready/)
  t.throws(() => transition('stopped', 'retry'))
  t.throws(() => transition('backing-off', 'ready'))
})
