import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DEFAULT_RESTART_POLICY } from '../restart-policy.js'
import type { ServiceStatus } from '../spec.js'
import { makeLab, shell, waitFor, type Lab } from '../../../test/lab/service-lab.js'

const QUICK = { ...DEFAULT_RESTART_POLICY, firstDelayMs: 50, maxDelayMs: 100 }

function statusOf(lab: Lab, name: string): ServiceStatus {
  const status = lab.supervisor.status().find((service) => service.name === name)
  if (status === undefined) throw new Error(`no ${name}`)
  return status
}

t.test('a newline on its descriptor makes a service ready; ending without one does not', async (t) => {
  const lab = makeLab(t)
  const folder = t.testdir()
  lab.supervisor.add(
    shell('tells', `sleep 0.2; touch ${folder}/told; printf '\\n' >&4; exec 4>&-; sleep 60`, {
      readiness: { kind: 'newline', fd: 4 },
    }),
  )
  await lab.supervisor.start('tells')
  t.ok(existsSync(join(folder, 'told')), 'not before it was told')
  lab.supervisor.add(
    shell('silent', 'exec 3>&-; sleep 60', { readiness: { kind: 'newline', fd: 3 }, readyTimeoutMs: 300 }),
  )
  await t.rejects(lab.supervisor.start('silent'), {
    message: 'cannot start silent: no answer from descriptor 3 within 300 ms',
  })
})

t.test('a file makes a service ready, but not one that was there before', async (t) => {
  const lab = makeLab(t)
  const path = join(t.testdir({ ready: 'of the last run' }), 'ready')
  const readiness = { kind: 'file', path } as const
  lab.supervisor.add(shell('stale', 'sleep 60', { readiness, readyTimeoutMs: 300 }))
  await t.rejects(lab.supervisor.start('stale'), { message: /no answer from .*ready within 300 ms/ })
  lab.supervisor.add(shell('fresh', `sleep 0.2; echo now > ${path}; sleep 60`, { readiness }))
  await lab.supervisor.start('fresh')
  t.equal(readFileSync(path, 'utf8'), 'now\n')
})

t.test(
  'a ready service that stops answering is ended and started again, and one miss is forgiven',
  async (t) => {
    const lab = makeLab(t, { policy: QUICK })
    const path = join(t.testdir(), 'alive')
    writeFileSync(path, '')
    lab.supervisor.add(
      shell('hangs', 'exec sleep 60', {
        restart: 'on-failure',
        liveness: { probe: { kind: 'file', path }, periodMs: 100, timeoutMs: 100, threshold: 3 },
      }),
    )
    await lab.supervisor.start('hangs')
    const { pid } = statusOf(lab, 'hangs')
    rmSync(path)
    await new Promise((resolve) => setTimeout(resolve, 150))
    writeFileSync(path, '')
    await new Promise((resolve) => setTimeout(resolve, 400))
    t.equal(statusOf(lab, 'hangs').pid, pid, 'it answers again in time')
    rmSync(path)
    await waitFor('the restart', () => statusOf(lab, 'hangs').restarts === 1)
    writeFileSync(path, '')
    const warning = lab.lines.find(({ message }) => message === 'service ended, will start again')
    t.match(warning?.fields, { service: 'hangs', reason: `no answer from ${path}, asked 3 times` })
    t.match(statusOf(lab, 'hangs'), { lastExit: 'SIGTERM' })
  },
)

t.test('a oneshot is ready when it has ended well, and what needs it starts then', async (t) => {
  const lab = makeLab(t, { policy: QUICK })
  const done = join(t.testdir(), 'done')
  lab.supervisor.add(
    shell('migrate', `sleep 0.2; echo run >> ${done}`, { type: 'oneshot', restart: 'on-failure' }),
  )
  lab.supervisor.add(shell('web', 'exec sleep 60', { after: ['migrate'] }))
  await lab.supervisor.start('migrate')
  t.equal(readFileSync(done, 'utf8'), 'run\n')
  await lab.supervisor.start('web')
  t.match(statusOf(lab, 'migrate'), { state: 'ready', pid: undefined, restarts: 0 })
  await lab.supervisor.restart('migrate')
  t.equal(readFileSync(done, 'utf8'), 'run\nrun\n', 'again when asked to')
  await lab.supervisor.stop('migrate')
  t.match(statusOf(lab, 'migrate'), { state: 'stopped' })
})

t.test('a oneshot that fails, takes too long, or contradicts itself says so', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(shell('fails', 'echo no table; exit 3', { type: 'oneshot', essential: true }))
  await t.rejects(lab.supervisor.start('fails'), { message: 'cannot start fails: exit code 3: no table' })
  t.match(lab.failures, [{ service: 'fails', exitCode: 3 }])
  lab.supervisor.add(shell('slow', 'sleep 60', { type: 'oneshot', readyTimeoutMs: 200 }))
  await t.rejects(lab.supervisor.start('slow'), { message: 'cannot start slow: not done within 200 ms' })
  t.throws(() => lab.supervisor.add(shell('again', 'true', { type: 'oneshot', restart: 'always' })), {
    code: 'SERVICE_INVALID',
  })
})

t.test('no new privileges, and limits, hold for all a service starts', async (t) => {
  const lab = makeLab(t)
  const said = "grep ^NoNewPrivs /proc/self/status; sh -c 'ulimit -n; ulimit -c'; exit 7"
  lab.supervisor.add(shell('free', said))
  lab.supervisor.add(shell('bound', said, { noNewPrivs: true, limits: { openFiles: 64, coreBytes: 0 } }))
  for (const name of ['free', 'bound']) {
    await lab.supervisor.start(name)
    await waitFor(name, () => statusOf(lab, name).state === 'failed' && lab.said(name).length === 3)
    t.match(statusOf(lab, name), { lastExit: 'exit code 7' })
  }
  t.equal(lab.said('free')[0], 'NoNewPrivs:\t0')
  t.strictSame(lab.said('bound'), ['NoNewPrivs:\t1', '64', '0'])
})

t.test('lines below the level of a service are left out', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(shell('chatty', 'echo chat; exec sleep 60', { logLevel: 'warn' }))
  lab.supervisor.add(shell('plain', 'echo chat; exec sleep 60'))
  for (const name of ['chatty', 'plain']) await lab.supervisor.start(name)
  await waitFor('the line', () => lab.said('plain').length === 1)
  await lab.supervisor.stop('chatty')
  t.strictSame(lab.said('chatty'), [])
})

t.test('a handover that is still to come is waited for', async (t) => {
  const lab = makeLab(t)
  let give = (_given: string): void => undefined
  const given = new Promise<string>((resolve) => (give = resolve))
  const script = 'echo waiting; echo "got $(cat <&3)"; sleep 60'
  lab.supervisor.add(shell('waits', script, { handover: { fd: 3, given } }))
  const ready = lab.supervisor.start('waits')
  await waitFor('its start', () => lab.said('waits').includes('waiting'))
  t.notOk(lab.said('waits').some((line) => line.startsWith('got')))
  t.match(statusOf(lab, 'waits'), { state: 'starting', waitsFor: 'what it is to be given' })
  give('all of it')
  await ready
  await waitFor('the handover', () => lab.said('waits').includes('got all of it'))
})

t.test('one that is stopped while it waits for its handover ends at once', async (t) => {
  const lab = makeLab(t)
  const given = new Promise<string>(() => undefined)
  lab.supervisor.add(shell('waits', 'echo waiting; cat <&3', { handover: { fd: 3, given } }))
  const refused = t.rejects(lab.supervisor.start('waits'), { message: /it was stopped/ })
  await waitFor('its start', () => lab.said('waits').includes('waiting'))
  const pid = statusOf(lab, 'waits').pid
  t.equal(await lab.supervisor.stop('waits'), 'ended')
  await refused
  t.notOk(existsSync(`/proc/${pid}`), 'and is reaped')
})

t.test(
  'one that ends while it waits has not come up, and is given what it needs at the next start',
  async (t) => {
    const lab = makeLab(t, { policy: QUICK })
    const folder = t.testdir()
    let give = (_given: string): void => undefined
    const given = new Promise<string>((resolve) => (give = resolve))
    const script = `[ -e ${folder}/once ] || { touch ${folder}/once; echo 'no such module'; exit 3; }; echo "got $(cat <&3)"; sleep 60`
    lab.supervisor.add(shell('waits', script, { handover: { fd: 3, given } }))
    await t.rejects(lab.supervisor.start('waits'), {
      message: /exit code 3 before it was ready: no such module/,
    })
    give('it')
    await lab.supervisor.start('waits')
    await waitFor('the handover', () => lab.said('waits').includes('got it'))
  },
)
