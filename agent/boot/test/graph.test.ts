import t from 'tap'
import { runBoot, type BootResult } from '../graph.js'
import type { BootStep, StepStatus } from '../../status/step.js'
import { renderTimeline } from '../../status/timeline.js'
import { systemClock } from '../../process/clock.js'
import { recordingLogger, type LogLine } from '../../../test/lab/service-lab.js'

type Run = BootStep['run']

function step(name: string, needs: readonly string[], run: Run, more: Partial<BootStep> = {}): BootStep {
  return { name, needs, run, timeoutMs: 5_000, onFailure: 'fatal', remedy: '', ...more }
}

const nothing: Run = () => Promise.resolve()
const pause =
  (ms: number): Run =>
  (signal) =>
    systemClock.sleep(ms, signal)
const fail =
  (message: string): Run =>
  () =>
    Promise.reject(new Error(message))

interface Outcome {
  readonly result?: BootResult
  readonly error?: unknown
  readonly steps: readonly StepStatus[]
  readonly lines: readonly LogLine[]
}

async function boot(steps: readonly BootStep[], signal = new AbortController().signal): Promise<Outcome> {
  const logger = recordingLogger()
  let last: readonly StepStatus[] = []
  const onChange = (now: readonly StepStatus[]): void => void (last = now)
  try {
    const result = await runBoot(steps, { logger, clock: systemClock, signal, onChange })
    return { result, steps: last, lines: logger.lines }
  } catch (error) {
    return { error, steps: last, lines: logger.lines }
  }
}

function statesOf(steps: readonly StepStatus[]): Record<string, string> {
  return Object.fromEntries(steps.map(({ name, state }) => [name, state]))
}

t.test('a step starts as soon as all it needs has ended, side by side with the others', async (t) => {
  const order: string[] = []
  const noting =
    (name: string, ms: number): Run =>
    async (signal) => {
      order.push(`${name} starts`)
      await pause(ms)(signal)
      order.push(`${name} ends`)
    }
  // Listed in an order that is not theirs.
  const { result } = await boot([
    step('last', ['slow', 'quick-after'], noting('last', 0)),
    step('slow', [], noting('slow', 200)),
    step('quick-after', ['quick'], noting('quick-after', 0)),
    step('quick', [], noting('quick', 0)),
  ])
  t.strictSame(order, [
    'slow starts',
    'quick starts',
    'quick ends',
    'quick-after starts',
    'quick-after ends',
    'slow ends',
    'last starts',
    'last ends',
  ])
  t.ok((result?.tookMs ?? 0) >= 199)
  t.match(result?.steps[3], { name: 'quick', state: 'done', startedMs: Number, tookMs: Number })
})

t.test('what depends on a step starts within 10 ms of its end', async (t) => {
  let endedAt = 0
  let gapMs = Infinity
  const first: Run = async (signal) => {
    await pause(50)(signal)
    endedAt = performance.now()
  }
  const second: Run = () => {
    gapMs = performance.now() - endedAt
    return Promise.resolve()
  }
  await boot([step('first', [], first), step('second', ['first'], second)])
  t.ok(gapMs < 10, `${gapMs} ms`)
})

t.test('a step that may degrade does, with its reason; what needs it still runs', async (t) => {
  const { result, lines } = await boot([
    step('workspace', [], fail('cannot clone: no such host; check DISCOBOT_WORKSPACE'), {
      onFailure: 'degrade',
    }),
    step('after', ['workspace'], () => Promise.resolve('all well')),
  ])
  t.match(result?.steps, [
    { name: 'workspace', state: 'degraded', note: /no such host/ },
    { name: 'after', state: 'done', note: 'all well' },
  ])
  t.strictSame(result?.degraded, ['workspace: cannot clone: no such host; check DISCOBOT_WORKSPACE'])
  t.match(lines, [
    { level: 'warn', message: 'boot step degraded', fields: { step: 'workspace', ms: Number } },
    { level: 'info', message: 'boot step done', fields: { step: 'after', ms: Number, note: 'all well' } },
  ])
  t.equal(lines.length, 2, 'one line a step')
})

t.test('what to do about it is in the one line, by the error itself or else by the step', async (t) => {
  const remedy = 'see the disk'
  const deaf: Run = () => new Promise(() => undefined)
  const { result, lines } = await boot([
    step('bare', [], fail('EIO: i/o error\n  at nowhere\n'), { onFailure: 'degrade', remedy }),
    step('told', [], fail('cannot write: full; remove something'), { onFailure: 'degrade', remedy }),
    step('slow', [], deaf, { onFailure: 'degrade', remedy, timeoutMs: 10 }),
  ])
  const notes = [
    ['bare', 'EIO: i/o error at nowhere; see the disk'],
    ['told', 'cannot write: full; remove something'],
    ['slow', 'it took longer than 10 ms; see the disk'],
  ] as const
  t.strictSame(
    result?.degraded,
    notes.map(([name, note]) => `${name}: ${note}`),
  )
  t.match(
    lines,
    notes.map(([name, note]) => ({ level: 'warn', fields: { step: name, note } })),
    'and the log says the same',
  )
  const fatal = await boot([step('home', [], fail('EROFS'), { remedy })])
  t.match(fatal.error, { message: 'cannot boot: step home: EROFS; see the disk' })
})

t.test('what nobody asked for may fail without being missed', async (t) => {
  const { result, lines } = await boot([
    step('extra', [], fail('not there'), { onFailure: 'ignore', remedy: 'look' }),
    step('after', ['extra'], nothing),
  ])
  t.match(result?.steps, [{ state: 'ignored', note: 'not there; look' }, { state: 'done' }])
  t.strictSame(result?.degraded, [])
  t.match(lines[0], { level: 'info', message: 'boot step failed, and nothing needs it' })
})

t.test('a fatal step ends the boot: the others are told, what had not begun is skipped', async (t) => {
  const { error, steps } = await boot([
    step('home', [], fail('no space left')),
    step('clone', [], pause(4_000)),
    step('link', ['home'], nothing),
    step('api', ['link'], nothing),
  ])
  t.match(error, { code: 'BOOT_FAILED', step: 'home', message: 'cannot boot: step home: no space left' })
  t.equal(steps.length, 4)
  t.strictSame(statesOf(steps), { home: 'failed', clone: 'done', link: 'skipped', api: 'skipped' })
})

t.test('a step that takes too long is told to end, and given up when it does not', async (t) => {
  let told = false
  const deaf: Run = (signal) =>
    new Promise(() => {
      signal.addEventListener('abort', () => (told = true))
    })
  const startedAt = performance.now()
  const { result } = await boot([
    step('deaf', [], deaf, { timeoutMs: 50, onFailure: 'degrade' }),
    step('after', ['deaf'], nothing),
  ])
  t.ok(told)
  t.match(result?.steps, [{ state: 'degraded', note: 'it took longer than 50 ms' }, { state: 'done' }])
  t.ok(performance.now() - startedAt < 2_000)
  const fatal = await boot([step('deaf', [], deaf, { timeoutMs: 20 })])
  t.match(fatal.error, { code: 'BOOT_FAILED', message: 'cannot boot: step deaf: it took longer than 20 ms' })
})

t.test('a step that fails long after it was given up harms nobody', async (t) => {
  let failed = false
  const late: Run = async () => {
    await systemClock.sleep(700)
    failed = true
    throw new Error('too late')
  }
  await boot([step('late', [], late, { timeoutMs: 10, onFailure: 'degrade' })])
  t.notOk(failed)
  await systemClock.sleep(400)
  t.ok(failed)
})

t.test('a stop ends the boot at every step boundary', async (t) => {
  const names = ['one', 'two', 'three', 'four']
  for (const stopAt of names) {
    const stop = new AbortController()
    const steps = names.map((name, index) =>
      step(name, names.slice(Math.max(0, index - 1), index), () => {
        if (name === stopAt) stop.abort()
        return Promise.resolve()
      }),
    )
    const { error, steps: last } = await boot(steps, stop.signal)
    t.match(error, { code: 'BOOT_INTERRUPTED' })
    const stopped = names.indexOf(stopAt)
    t.strictSame(
      last.map(({ state }) => state),
      names.map((_, index) => (index <= stopped ? 'done' : 'skipped')),
      `stopped in ${stopAt}`,
    )
  }
})

t.test('steps that make no graph are refused before anything runs', async (t) => {
  const ran = t.fail.bind(t, 'a step ran') as unknown as Run
  const cases: readonly (readonly [BootStep[], string])[] = [
    [[step('a', [], ran), step('a', [], ran)], 'there are two steps called "a"'],
    [[step('a', ['b'], ran)], 'a needs "b", which is no step'],
    [[step('a', ['a'], ran)], 'these steps wait for each other: a → a'],
    [
      [step('x', [], ran), step('a', ['x', 'c'], ran), step('b', ['a'], ran), step('c', ['b'], ran)],
      'these steps wait for each other: a → c → b → a',
    ],
  ]
  for (const [steps, reason] of cases) {
    t.match((await boot(steps)).error, {
      code: 'BOOT_GRAPH_INVALID',
      message: `cannot plan the boot: ${reason}`,
    })
  }
})

t.test('the timeline is a table; colours only where they are wanted', async (t) => {
  const steps: StepStatus[] = [
    { name: 'home', state: 'done', startedMs: 0, tookMs: 10 },
    { name: 'workspace', state: 'degraded', startedMs: 10, tookMs: 50, note: 'no such\nhost \u001b[2J' },
    { name: 'proxy', state: 'running', startedMs: 60 },
    { name: 'agent-api', state: 'waiting' },
  ]
  const table = renderTimeline(steps, { colour: false, totalMs: 120 })
  t.equal(
    table,
    [
      '✓ home           +0 ms      10 ms  █',
      '! workspace     +10 ms      50 ms   █████        no such host  [2J',
      '… proxy         +60 ms    running        ██████',
      '· agent-api               waiting',
      '  total                    120 ms',
    ].join('\n'),
  )
  t.match(renderTimeline(steps, { colour: true, totalMs: 120 }), '\u001b[32m✓\u001b[0m home')
})

t.test('a step that was not needed is not shown as done', async (t) => {
  const { steps, lines } = await boot([
    step('dockerd', [], () => Promise.resolve({ notDone: 'it is off' })),
    step('after', ['dockerd'], nothing),
  ])
  t.match(steps, [{ name: 'dockerd', state: 'skipped', note: 'it is off' }, { state: 'done' }])
  t.match(lines, [{ message: 'boot step left out', fields: { note: 'it is off' } }, {}])
  const table = renderTimeline(steps, { colour: false, totalMs: 10 })
  t.match(table, /^- dockerd .*it is off$/m)
  t.notMatch(table, /✓ dockerd/)
})

t.test('no line of the timeline is longer than 80 columns', async (t) => {
  const path = `/a/${'long/'.repeat(40)}path`
  const steps: StepStatus[] = [
    {
      name: 'docker-client',
      state: 'degraded',
      startedMs: 123_456,
      tookMs: 123_456,
      note: `cannot write ${path} to a disk that is full`,
    },
    { name: 'proxy', state: 'done', startedMs: 0, tookMs: 1, note: 'words '.repeat(60) },
  ]
  const lines = renderTimeline(steps, { colour: false, totalMs: 250_000 }).split('\n')
  t.strictSame(
    lines.filter((line) => line.length > 80),
    [],
  )
  t.match(lines.join('').replaceAll(' ', ''), path, 'and nothing is left out')
})
