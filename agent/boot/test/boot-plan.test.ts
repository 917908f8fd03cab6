import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { checkGraph, planned } from '../plan.js'
import type { BootStep } from '../../status/step.js'
import { planBoot } from '../steps.js'
import { planProxy } from '../steps/proxy.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import { LogStore } from '../../logs/log-store.js'
import { readOptions } from '../../settings/options.js'
import { Supervisor } from '../../services/supervisor.js'
import { commandRunner } from '../../system/command.js'
import { filterProgramRunner } from '../../wall/filter-program.js'

/** The sources lie beside dist/, from which this test runs. */
const ROOT = process.cwd()

/** The plan alone: nothing of it is run. */
function plan(pid: number, env: Record<string, string>): readonly BootStep[] {
  const children = new ChildRegistry()
  const logger = silentLogger
  const clock = systemClock
  const notRun = (): never => {
    throw new Error('a plan does nothing')
  }
  const options = readOptions({ env, pid, uid: 0, cwd: '/', homedir: '/root' })
  const self = { uid: 0, name: 'root' }
  const supervisor = new Supervisor({ logger, clock, children, onEssentialFailure: notRun })
  const { steps } = planBoot({
    options,
    ...(options.proxy === 'on'
      ? { proxy: planProxy({ options, command: ['proxy'], self, supervisor, logger }, {}) }
      : {}),
    logger,
    clock,
    programs: { proxy: ['proxy'], agentApi: ['agent-api'] },
    self,
    cwd: '/',
    supervisor,
    findings: {},
    run: commandRunner(children),
    runFilter: filterProgramRunner(children),
    actions: {
      logs: new LogStore({ maxBytesPerService: 1 }),
      status: notRun,
      guards: notRun,
      change: notRun,
      signal: notRun,
      reload: notRun,
    },
    onHome: notRun,
    onControlStarted: notRun,
  })
  return steps
}

const EVERYTHING = { DISCOBOT_WORKSPACE: 'https://example.com/repo.git' }

void t.test('every step has a limit, a remedy, and a place in the documentation', (t) => {
  const docs = readFileSync(join(ROOT, 'docs', 'architecture.md'), 'utf8')
  const table = /\n\| step +\|[^]*?\n\n/.exec(docs)?.[0] ?? ''
  const steps = plan(1, EVERYTHING)
  for (const { name, timeoutMs, remedy, onFailure } of steps) {
    t.ok(timeoutMs >= 1_000 && timeoutMs <= 30 * 60_000, `${name}: ${timeoutMs} ms`)
    t.match(remedy, /^[a-z].{5,}[^.]$/, `${name}: ${remedy}`)
    const row = table.split('\n').find((line) => line.startsWith(`| \`${name}\` `)) ?? ''
    t.match(row, onFailure, `${name} is in the table, with what its failure does`)
  }
  const rows = table.split('\n').filter((line) => line.startsWith('| `'))
  t.equal(rows.length, steps.length, 'and no other')
  t.end()
})

void t.test('what a mode or a setting rules out is not waited for, and nothing else is lost', (t) => {
  const needsOf = (steps: readonly BootStep[], name: string): readonly string[] =>
    steps.find((step) => step.name === name)?.needs ?? []
  for (const pid of [1, 4711]) {
    for (const env of [EVERYTHING, {}, { DISCOBOT_PROXY: 'off' }, { ...EVERYTHING, DISCOBOT_PROXY: 'off' }]) {
      const steps = plan(pid, env)
      checkGraph(steps)
      t.ok(needsOf(steps, 'agent-api').includes('workspace'))
      t.ok(needsOf(steps, 'agent-api-load').includes('home'), 'its account is made there')
    }
  }
  const guest = plan(4711, EVERYTHING).map(({ name }) => name)
  for (const ofContainers of ['overlay', 'link', 'profile', 'docker-client', 'services'])
    t.notOk(guest.includes(ofContainers), `${ofContainers}: nothing outside the data dir is touched`)
  const container = plan(1, EVERYTHING)
  t.strictSame(needsOf(container, 'overlay'), ['home', 'workspace', 'submodules', 'lfs'])
  for (const inHome of ['link', 'proxy-config', 'agent-api', 'services', 'docker-client'])
    t.ok(needsOf(container, inHome).includes('overlay'), `${inHome} sees the home that stays`)
  t.end()
})

void t.test('a plan can be made in every mode and with every setting that leaves steps out', (t) => {
  const choices: readonly (readonly Record<string, string>[])[] = [
    [{}, { DISCOBOT_PROXY: 'off' }],
    [{}, { DISCOBOT_DOCKER: 'off' }, { DISCOBOT_DOCKER: 'rootless' }, { DISCOBOT_DOCKER: 'on' }],
    [{}, EVERYTHING, { DISCOBOT_WORKSPACE: '/srv/project' }],
    [{}, { DISCOBOT_AGENT_COMMAND: 'sleep 1000' }],
    [{}, { DISCOBOT_DOCKER_CLIENT_PROXY: 'on' }],
    [{}, { DISCOBOT_OVERLAY: 'off' }],
  ]
  const settings = choices.reduce<Record<string, string>[]>(
    (made, options) => made.flatMap((one) => options.map((more) => ({ ...one, ...more }))),
    [{}],
  )
  const all = new Set(plan(1, EVERYTHING).map(({ name }) => name))
  for (const pid of [1, 4711]) {
    for (const env of settings) {
      const steps = plan(pid, env)
      const names = new Set(steps.map(({ name }) => name))
      const known = steps.every(({ name, needs }) => all.has(name) && needs.every((need) => names.has(need)))
      if (!known) t.fail(`${pid} ${JSON.stringify(env)}`)
    }
  }
  t.ok(settings.length > 100)
  t.end()
})

void t.test('a need that is neither a step nor said to be left out is refused, with step and name', (t) => {
  const step = (name: string, ...needs: string[]): BootStep => ({
    name,
    needs,
    timeoutMs: 1_000,
    onFailure: 'fatal',
    remedy: '',
    run: () => Promise.resolve(),
  })
  const steps = [step('home'), step('link', 'home', 'overlay'), step('proxy', 'link')]
  t.strictSame(
    planned(steps, ['overlay']).map(({ needs }) => needs),
    [[], ['home'], ['link']],
  )
  for (const absent of [[], ['overlya'], ['proxy-config']])
    t.throws(() => planned(steps, absent), {
      code: 'BOOT_GRAPH_INVALID',
      message: 'cannot plan the boot: link needs "overlay", which is no step',
    })
  t.throws(() => planned([...steps, step('ca', 'hmoe')], ['overlay']), {
    message: 'cannot plan the boot: ca needs "hmoe", which is no step',
  })
  t.throws(() => planned(steps, ['overlay', 'link']), { message: /the step "link" is there and left out/ })
  t.end()
})

void t.test('nothing of the workspace runs before the wall is up', (t) => {
  const steps = new Map(plan(1, EVERYTHING).map((step) => [step.name, step]))
  const after = (name: string): boolean =>
    steps.get(name)?.needs.some((need) => need === 'wall' || after(need)) === true
  for (const name of ['profile', 'docker-client', 'dockerd', 'agent-api', 'services']) t.ok(after(name), name)
  for (const [env, pid] of [
    [{ DISCOBOT_PROXY: 'off' }, 1],
    [{}, 4711],
  ] as const)
    for (const step of plan(pid, env))
      if (['dockerd', 'agent-api', 'services'].includes(step.name))
        t.ok(step.needs.includes('wall'), step.name)
  t.end()
})
