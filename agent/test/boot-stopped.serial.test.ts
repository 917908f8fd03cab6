import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startIsolated } from '../../test/lab/isolated.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'
const UP = /Discobot is up.*Try next.*\n\n/s
const STEP_DONE = /boot step done .*?step=(\S+)/g

void t.test(
  'a stop after any step of the boot ends with 0, in order, and the next start takes it up from there',
  { skip: NEEDS_ROOT, timeout: 120_000 },
  async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    const env = { DISCOBOT_DOCKER: 'off' }
    const whole = await startIsolated(t, { env })
    await whole.logged(UP)
    const steps = [...whole.logs().matchAll(STEP_DONE)].map(([, step]) => step ?? '')
    t.equal(await whole.stop(), 0)
    t.ok(steps.includes('home') && steps.includes('proxy') && steps.includes('agent-api'), steps.join(' '))

    for (const step of steps) {
      const container = await startIsolated(t, { env, dataDir })
      await container.logged(new RegExp(`boot step done .*?step=${step}\\b`))
      t.equal(await container.stop(), 0, `after ${step}`)
      const stopped = [...container.logs().matchAll(/service stopped .*?service=(\S+)/g)].map(
        ([, name]) => name,
      )
      t.strictSame(
        stopped,
        ['agent-api', 'proxy'].filter((name) => stopped.includes(name)),
        'in order',
      )
      t.notMatch(container.logs(), /defect in the agent|boot failed/)
    }

    const last = await startIsolated(t, { env, dataDir })
    await last.logged(UP)
    t.notMatch(last.logs(), /degraded/)
    t.equal(await last.stop(), 0)
  },
)

void t.test(
  'each service killed with -9 is back within its backoff, and the other one is untouched',
  { skip: NEEDS_ROOT, timeout: 120_000 },
  async (t) => {
    const container = await startIsolated(t, { env: { DISCOBOT_DOCKER: 'off' } })
    await container.logged(UP)
    const pidOf = async (program: string): Promise<string> =>
      (
        await container.exec(`ps -e -o pid=,args= | awk '/${program}/ && !/awk/ { print $1; exit }'`)
      ).stdout.trim()
    const programs = ['[a]pi/main.js', '[p]roxy/main.js'] as const
    const ready = {
      '[a]pi/main.js': 'http://127.0.0.1:3002/health',
      '[p]roxy/main.js': 'http://127.0.0.1:17081/health',
    }
    for (const program of [...programs, ...programs]) {
      const escaped = program.replace('/', String.raw`\/`)
      const other = programs.find((name) => name !== program)?.replace('/', String.raw`\/`) ?? ''
      const before = await pidOf(escaped)
      const untouched = await pidOf(other)
      t.match(before, /^\d+$/)
      const { stdout } = await container.exec(
        `kill -9 ${before}; for i in $(seq 50); do sleep 0.1; curl -sf -m 1 ${ready[program]} >/dev/null && echo back && exit; done`,
      )
      t.equal(stdout, 'back\n', `${program} answers again within 5 s`)
      t.not(await pidOf(escaped), before)
      t.equal(await pidOf(other), untouched)
    }
    t.equal(await container.stop(), 0)
  },
)
