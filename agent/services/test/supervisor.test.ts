import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { ServiceSpec } from '../spec.js'
import { stopLevels } from '../stop-order.js'
import { findMarked } from '../../process/stragglers.js'
import { listZombies } from '../../process/zombies.js'
import { makeLab, shell, waitFor, type Lab } from '../../../test/lab/service-lab.js'

/** Runs until SIGTERM, and writes down when it ended. */
function noting(name: string, notes: string, more: Partial<ServiceSpec> = {}): ServiceSpec {
  const work = `trap 'sleep 0.1; echo ${name} >> ${notes}; exit 0' TERM; echo up; while :; do sleep 0.05; done`
  return shell(name, work, { restart: 'always', ...more })
}

async function up(lab: Lab, ...names: string[]): Promise<void> {
  for (const name of names) {
    await lab.supervisor.start(name)
    await waitFor(name, () => lab.said(name).includes('up'))
  }
}

t.test('everything stops in the opposite order: what needs a service before it', async (t) => {
  const lab = makeLab(t)
  const notes = join(t.testdir({ notes: '' }), 'notes')
  lab.supervisor.add(noting('proxy', notes))
  lab.supervisor.add(noting('dockerd', notes, { after: ['proxy'] }))
  lab.supervisor.add(noting('agent-api', notes, { after: ['proxy', 'dockerd'] }))
  await up(lab, 'proxy', 'dockerd', 'agent-api')
  const report = await lab.supervisor.stopAll({ deadlineMs: 5_000 })
  t.equal(readFileSync(notes, 'utf8'), 'agent-api\ndockerd\nproxy\n')
  t.match(report, { killed: [], left: [] })
  t.strictSame(
    lab.supervisor.status().map(({ state, lastExit }) => [state, lastExit]),
    Array.from({ length: 3 }, () => ['stopped', 'exit code 0']),
  )
  await t.rejects(lab.supervisor.start('proxy'), {
    message: 'cannot start proxy: everything is being stopped',
  })
})

t.test('an order of its own can be given', async (t) => {
  const lab = makeLab(t)
  const notes = join(t.testdir({ notes: '' }), 'notes')
  lab.supervisor.add(noting('proxy', notes))
  lab.supervisor.add(noting('dockerd', notes, { after: ['proxy'] }))
  lab.supervisor.add(noting('agent-api', notes, { after: ['proxy'] }))
  await up(lab, 'proxy', 'dockerd', 'agent-api')
  await lab.supervisor.stopAll({ deadlineMs: 5_000, order: [['agent-api'], ['proxy'], ['dockerd']] })
  t.equal(readFileSync(notes, 'utf8'), 'agent-api\nproxy\ndockerd\n')
})

t.test('levels: side by side where nothing stands between, and what no order names goes first', async (t) => {
  const specs = [
    shell('a', ''),
    shell('b', '', { after: ['a'] }),
    shell('c', '', { after: ['a'] }),
    shell('d', '', { after: ['b'] }),
  ]
  t.strictSame(stopLevels(specs, 'reverse'), [['d'], ['b', 'c'], ['a']])
  t.strictSame(stopLevels(specs, [['a'], ['c', 'unknown']]), [['d'], ['b'], ['a'], ['c']])
  t.strictSame(stopLevels([], 'reverse'), [])
})

t.test(
  'what does not heed SIGTERM is killed after its grace, and the log names it every second',
  async (t) => {
    const lab = makeLab(t)
    lab.supervisor.add(
      shell('deaf', 'trap "" TERM; echo up; while :; do sleep 0.05; done', { stopGraceMs: 1_300 }),
    )
    await up(lab, 'deaf')
    const report = await lab.supervisor.stopAll({ deadlineMs: 10_000 })
    t.match(report, { killed: ['deaf'], left: [] })
    t.ok(report.tookMs >= 1_300 && report.tookMs < 2_500, `${report.tookMs} ms`)
    t.match(lab.supervisor.status(), [{ state: 'stopped', lastExit: 'SIGKILL' }])
    t.match(
      lab.lines.filter(({ message }) => message === 'still stopping').map(({ fields }) => fields),
      [{ running: 'deaf' }],
    )
  },
)

t.test('one deadline holds for all, a second wish halves it, and a third kills at once', async (t) => {
  const deaf = (name: string): ServiceSpec =>
    shell(name, 'trap "" TERM; echo up; while :; do sleep 0.05; done', { stopGraceMs: 60_000 })
  const deadline = makeLab(t)
  const halved = makeLab(t)
  const killed = makeLab(t)
  for (const lab of [deadline, halved, killed]) {
    lab.supervisor.add(deaf('first'))
    lab.supervisor.add({ ...deaf('second'), after: ['first'] })
    await up(lab, 'first', 'second')
  }
  const plain = deadline.supervisor.stopAll({ deadlineMs: 400 })
  const half = halved.supervisor.stopAll({ deadlineMs: 2_000 })
  halved.supervisor.hurry()
  const now = killed.supervisor.stopAll({ deadlineMs: 60_000 })
  killed.supervisor.killNow()
  for (const [report, atLeast, below] of [
    [await plain, 400, 950],
    [await half, 950, 1_700],
    [await now, 0, 500],
  ] as const) {
    t.ok(report.tookMs >= atLeast && report.tookMs < below, `${report.tookMs} ms of ${atLeast} to ${below}`)
    t.strictSame(report.killed, ['second', 'first'])
  }
})

t.test('a second wish that comes before the stop has begun is not forgotten', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(
    shell('deaf', 'trap "" TERM; echo up; while :; do sleep 0.05; done', { stopGraceMs: 60_000 }),
  )
  await up(lab, 'deaf')
  lab.supervisor.hurry()
  const { tookMs, killed } = await lab.supervisor.stopAll({ deadlineMs: 2_000 })
  t.ok(tookMs >= 950 && tookMs < 1_700, `${tookMs} ms of 950 to 1700`)
  t.strictSame(killed, ['deaf'])
})

t.test('a service says what it waits for', async (t) => {
  const lab = makeLab(t)
  const folder = t.testdir({})
  const ready = join(folder, 'ready')
  lab.supervisor.add(
    shell('base', `echo up; read _ <${join(folder, 'gate')}; : >${ready}; exec sleep 60`, {
      readiness: { kind: 'file', path: ready },
    }),
  )
  lab.supervisor.add(
    shell('top', 'trap "" TERM; echo up; while :; do sleep 0.05; done', {
      after: ['base'],
      stopGraceMs: 300,
    }),
  )
  execFileSync('mkfifo', [join(folder, 'gate')])
  const waits = (name: string): string | undefined => lab.supervisor.statusOf(name).waitsFor
  const starting = [lab.supervisor.start('base'), lab.supervisor.start('top')]
  await waitFor('base', () => lab.said('base').includes('up'))
  t.equal(waits('base'), ready)
  t.equal(waits('top'), 'base')
  writeFileSync(join(folder, 'gate'), 'go\n')
  await Promise.all(starting)
  t.equal(waits('base'), undefined)
  t.equal(waits('top'), undefined)
  await waitFor('top', () => lab.said('top').includes('up'))
  const stopping = lab.supervisor.stop('top')
  await waitFor('the stop', () => waits('top') === 'the end of its processes')
  await stopping
  t.equal(waits('top'), undefined)
})

t.test('a zombie is named with the process that does not wait for it, and its service', async (t) => {
  const lab = makeLab(t)
  // The child is left to a program that never waits, which the shell has become before it ends.
  lab.supervisor.add(shell('careless', '(sleep 0.3) & echo $!; exec sleep 60'))
  await lab.supervisor.start('careless')
  const pid = Number(await waitFor('the pid', () => lab.said('careless')[0]))
  const zombie = await waitFor('the zombie', () => listZombies(false).find((one) => one.pid === pid))
  t.match(zombie, {
    pid,
    parent: { pid: lab.supervisor.statusOf('careless').pid, name: 'sleep' },
    service: 'careless',
  })
  await lab.supervisor.stop('careless')
})

t.test('a grandchild that holds the pipe delays neither the end nor the stop', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(shell('parent', 'setsid sleep 60 & echo up; sleep 0.1; exit 4'))
  await lab.supervisor.start('parent')
  await waitFor('the end', () => lab.supervisor.status()[0]?.state === 'failed')
  t.match(lab.supervisor.status(), [{ lastExit: 'exit code 4' }])
  t.strictSame(lab.said('parent'), ['up'])
})

t.test('what left the group is found by its environment and ended at the stop', async (t) => {
  const lab = makeLab(t)
  const work = `env | grep ^DISCOBOT_SERVICE=; setsid sh -c 'trap "" TERM; echo daemon up; while :; do sleep 0.05; done' & sleep 60`
  lab.supervisor.add(shell('forker', work))
  await lab.supervisor.start('forker')
  await waitFor('the daemon', () => lab.said('forker').includes('daemon up'))
  const marker = lab.said('forker')[0]?.replace('DISCOBOT_SERVICE=', '') ?? ''
  t.ok(findMarked(marker).length >= 2)
  await lab.supervisor.stop('forker')
  t.strictSame(findMarked(marker), [])
})

t.test('what a service needs must be ready first', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(shell('base', 'sleep 0.2; exit 1'))
  lab.supervisor.add(shell('top', 'sleep 60', { after: ['base'] }))
  await t.rejects(lab.supervisor.start('top'), {
    message: 'cannot start top: it needs base, which is stopped',
  })
  await lab.supervisor.start('base')
  await lab.supervisor.start('top')
  await waitFor('base to fail', () => lab.supervisor.status()[0]?.state === 'failed')
  t.match(lab.supervisor.status(), [{ name: 'base' }, { name: 'top', state: 'ready' }], 'top is left alone')
})

t.test('a restart is another process, and a signal reaches the service alone', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(shell('one', 'trap "echo got it" USR1; echo up; while :; do sleep 0.02; done'))
  await up(lab, 'one')
  const before = lab.supervisor.status()[0]?.pid
  t.equal(lab.supervisor.signal('one', 'SIGUSR1'), true)
  await waitFor('the signal', () => lab.said('one').includes('got it'))
  await lab.supervisor.restart('one')
  t.not(lab.supervisor.status()[0]?.pid, before)
  await lab.supervisor.stop('one')
  t.equal(lab.supervisor.signal('one', 'SIGUSR1'), false)
})

t.test('a stop that was asked for is no failure of an essential service', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(shell('vital', 'echo up; exec sleep 60', { essential: true }))
  lab.supervisor.add(shell('done', 'sleep 0.05; exit 0', { essential: true }))
  await up(lab, 'vital')
  await lab.supervisor.start('done')
  await waitFor('done', () => lab.failures.length === 1)
  await lab.supervisor.stopAll({ deadlineMs: 3_000 })
  t.match(lab.failures, [{ service: 'done', exitCode: 0 }])
})

t.test('a description that cannot work is refused', async (t) => {
  const { supervisor } = makeLab(t)
  supervisor.add(shell('one', ''))
  const cases: readonly (readonly [ServiceSpec, string | RegExp])[] = [
    [shell('One', ''), 'cannot add service "One": a name is lower-case letters, digits and dashes'],
    [shell('one', ''), 'cannot add service "one": there is one of that name already'],
    [
      shell('two', '', { after: ['three'] }),
      'cannot add service "two": it comes after "three", which is not there',
    ],
    [
      shell('two', '', { readiness: { kind: 'http', url: 'https://127.0.0.1/' } }),
      'cannot add service "two": "https://127.0.0.1/": write an http:// URL',
    ],
    [
      shell('two', '', { readiness: { kind: 'unix-http', socketPath: `/${'x'.repeat(107)}`, path: '/' } }),
      /^cannot add service "two": "\/x+…": the path of a socket may have 107 bytes at most$/,
    ],
  ]
  for (const [spec, message] of cases)
    t.throws(() => supervisor.add(spec), { code: 'SERVICE_INVALID', message })
  await t.rejects(supervisor.start('four'), {
    code: 'SERVICE_UNKNOWN',
    message: 'cannot find service "four": there are one',
  })
})

t.test('twelve services stop without a warning of too many listeners', async (t) => {
  const lab = makeLab(t)
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const names = Array.from({ length: 12 }, (_, index) => `s${index}`)
  for (const name of names) lab.supervisor.add(shell(name, 'exec sleep 60'))
  await Promise.all(names.map((name) => lab.supervisor.start(name)))
  await lab.supervisor.stopAll({ deadlineMs: 5_000 })
  t.strictSame(warnings, [])
})
