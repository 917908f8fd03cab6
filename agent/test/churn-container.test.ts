import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { systemClock } from '../init/clock.js'
import { BUILT, startIsolated } from './isolated.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'
const UP = /Discobot is up.*Try next.*\n\n/s
/** A round makes and loses 1,000 orphans; the promise is about a minute of it. */
const CHURN_MS = Number(process.env['DISCOBOT_TEST_CHURN_MS'] ?? 6_000)

function residentKilobytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

void t.test(
  'the memory of process 1 stays below 70 MB and flat while orphans come and go',
  { skip: NEEDS_ROOT },
  async (t) => {
    // As the image has it.
    await execa(process.execPath, ['scripts/bundle.mjs'])
    const bundle = join(BUILT, 'bundle')
    const container = await startIsolated(t, {
      env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY: 'off' },
      command: [process.execPath, '/opt/discobot/bin/agent', 'run'],
      prepare: `mkdir -p /opt/discobot/bin
for program in agent proxy agent-api; do ln -s "${bundle}/$program.cjs" "/opt/discobot/bin/$program"; done
`,
    })
    await container.logged(UP)
    const churn = (count: number): Promise<unknown> =>
      container.exec(`perl -e 'for (1..${count}) { fork or exit 3 }'`)
    await churn(10_000)
    await systemClock.sleep(2_500)
    const before = residentKilobytes(container.pid)
    const until = performance.now() + CHURN_MS
    let rounds = 0
    while (performance.now() < until) {
      await churn(1_000)
      rounds += 1
    }
    await systemClock.sleep(2_500)
    const after = residentKilobytes(container.pid)
    t.comment(`${before} kB before, ${after} kB after ${rounds} rounds`)
    t.ok(after <= 70 * 1024, `${after} kB`)
    t.ok(after - before < 6_000, `grew by ${after - before} kB in ${rounds} rounds`)
    const { stdout } = await container.exec("ps -e -o stat= | grep -c '^Z' || :")
    t.equal(stdout, '0\n', 'no zombie is left')
    t.equal(await container.stop(), 0)
  },
)
