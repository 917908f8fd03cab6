import { join } from 'node:path'
import t from 'tap'
import type { AgentStatus } from '../../status/status.js'
import type { ServiceStatus } from '../spec.js'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { BUILT, startIsolated } from '../../../test/lab/isolated.js'

// The promise: whatever is killed comes back within its backoff, and nothing else notices.

const NAMES = ['proxy', 'agent-api', 'web', 'leaf'] as const
/** First one by one, then all at once: the waits double. */
const ROUNDS = ['in turn', 'in turn', 'at once', 'at once', 'at once'] as const
const FIRST_BACKOFF_MS = 500
/** For the start of the program itself, on a machine that is busy. */
const START_MS = 15_000

void t.test('every service is killed with -9, twenty times in all', { skip: NEEDS_ROOT }, async (t) => {
  const container = await startIsolated(t, {
    env: { DISCOBOT_DOCKER: 'off' },
    prepare: `mkdir -p /etc/discobot/services.d
cat >/etc/discobot/services.d/test.yaml <<'END'
services:
  web: { command: sh -c 'while :; do sleep 1000 & wait; done', depends: [proxy] }
  leaf: { command: sleep 1000, depends: [web] }
END
`,
  })
  await container.logged(/Discobot is up/)
  const ask = async (): Promise<ReadonlyMap<string, ServiceStatus>> => {
    const { stdout } = await container.exec(
      `'${process.execPath}' '${join(BUILT, 'agent/main.js')}' status --json`,
    )
    const status = JSON.parse(stdout) as AgentStatus
    return new Map(status.services.map((service) => [service.name, service]))
  }
  /** Sees the port from inside, and notes how long nobody answered. */
  await container.exec(
    `setsid bash -c 'while :; do if curl -so /dev/null --max-time 2 http://127.0.0.1:17081/health
then echo up; else echo down; fi; echo "$EPOCHREALTIME"; sleep 0.05; done' >/tmp/port 2>&1 </dev/null &`,
  )
  const kill = async (name: string, service: ServiceStatus | undefined): Promise<void> => {
    const { code } = await container.exec(`kill -9 ${service?.pid ?? 'nobody'}`)
    t.equal(code, 0, `${name} ran`)
  }
  /** Resolves when it is ready with another process; how long that took. */
  const back = async (name: string, before: ServiceStatus | undefined): Promise<number> => {
    const from = performance.now()
    for (;;) {
      const now = (await ask()).get(name)
      if (now?.state === 'ready' && now.pid !== before?.pid) return performance.now() - from
    }
  }

  for (const [round, how] of ROUNDS.entries()) {
    const backoffMs = FIRST_BACKOFF_MS * 2 ** round
    const groups = how === 'in turn' ? NAMES.map((name) => [name]) : [NAMES]
    for (const group of groups) {
      const before = await ask()
      for (const name of group) await kill(name, before.get(name))
      for (const name of group) {
        const tookMs = await back(name, before.get(name))
        t.ok(
          tookMs < backoffMs + START_MS,
          `round ${round + 1}: ${name} is back after ${Math.round(tookMs)} ms`,
        )
      }
      const after = await ask()
      for (const name of NAMES) {
        const [was, is] = [before.get(name), after.get(name)]
        const killed = (group as readonly string[]).includes(name)
        t.equal(is?.restarts, (was?.restarts ?? 0) + (killed ? 1 : 0), `${name} after ${group.join(', ')}`)
        if (!killed) t.equal(is?.pid, was?.pid, `${name} has not noticed that ${group.join(', ')} was killed`)
      }
    }
  }

  const { stdout } = await container.exec('cat /tmp/port')
  const longestMs = longestDown(stdout)
  const lastBackoffMs = FIRST_BACKOFF_MS * 2 ** (ROUNDS.length - 1)
  t.ok(
    longestMs > 0 && longestMs < lastBackoffMs + START_MS,
    `the port was dead for ${Math.round(longestMs)} ms at most`,
  )
  t.equal(await container.stop(), 0)
})

/** Milliseconds between the last answer before a gap and the first after it. */
function longestDown(text: string): number {
  let lastUp = 0
  let isDown = false
  let longest = 0
  for (const [, state, seconds = '0'] of text.matchAll(/(up|down)\n([\d.]+)/g)) {
    const ms = Number(seconds) * 1000
    if (state === 'up') {
      if (isDown) longest = Math.max(longest, ms - lastUp)
      lastUp = ms
    }
    isDown = state === 'down'
  }
  return longest
}
