import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { escapeControls } from '../../../base/log/readable-line.js'
import { fetchStatus } from '../../control/client.js'
import { systemClock, type Clock } from '../../process/clock.js'
import { OutputBudget, type OutputShare } from '../output-budget.js'
import { OutputReader } from '../output-reader.js'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { BUILT, startIsolated, type Container } from '../../../test/lab/isolated.js'
import { makeLab, shell, waitFor } from '../../../test/lab/service-lab.js'

// The promise: whatever services print, process 1 answers, stops in time, and stays small.

const MIB = 1024 * 1024
const NO_HURRY = new AbortController().signal

/** A clock that stands still but for those who sleep. */
function sleepingClock(): Clock & { slept: number } {
  const clock = {
    ...systemClock,
    slept: 0,
    now: () => clock.slept,
    sleep: (ms: number) => {
      clock.slept += ms
      return Promise.resolve()
    },
  }
  return clock
}

async function spend(share: OutputShare, bytes: number, lines = 0): Promise<void> {
  for (let spent = 0; spent < bytes; spent += 1024) await share.spend(1024, lines, NO_HURRY)
}

void t.test(
  'a service may print much at once, then as much as its share; all of them share theirs',
  async (t) => {
    const clock = sleepingClock()
    const one = new OutputBudget(clock).share()
    await spend(one, 8 * MIB)
    t.equal(clock.slept, 0, 'the burst')
    await spend(one, 4 * MIB)
    t.ok(clock.slept > 3_900 && clock.slept <= 4_010, `4 MiB at 1 MiB/s: ${clock.slept} ms`)

    const lineClock = sleepingClock()
    await spend(new OutputBudget(lineClock).share(), MIB, 512)
    t.ok(lineClock.slept > 8_000, `half a million lines of a byte: ${lineClock.slept} ms`)

    const shared = sleepingClock()
    const everybody = new OutputBudget(shared)
    const services = Array.from({ length: 10 }, () => everybody.share())
    for (let round = 0; round < 4; round += 1) for (const service of services) await spend(service, MIB)
    t.ok(shared.slept > 7_900, `40 MiB, 16 at once and 3 a second: ${shared.slept} ms`)
    const before = shared.slept
    await everybody.share().spend(100, 1, NO_HURRY)
    t.ok(shared.slept - before < 200, 'who says little does not wait for those who say much')
  },
)

void t.test(
  'in a hurry what does not fit is dropped but for the last words, and the drop is told',
  async (t) => {
    const pipe = new PassThrough({ highWaterMark: 64 * MIB })
    const lines: string[] = []
    const clock = {
      ...systemClock,
      sleep: (_: number, signal?: AbortSignal) => systemClock.sleep(60_000, signal),
    }
    const reader = new OutputReader(pipe, new OutputBudget(clock).share(), (line) => lines.push(line))
    const flood = `${'x'.repeat(1023)}\n`.repeat(10 * 1024)
    const end = 'last but one\nthe end'
    pipe.end(flood + end)
    await waitFor('the burst to be used up', () => lines.length > 7 * 1024)
    reader.hurry()
    await reader.done
    t.strictSame(lines.slice(-2), end.split('\n'))
    const told = lines.findIndex((line) => line.includes('bytes were dropped'))
    const dropped = Number(/… (\d+) bytes/.exec(lines[told] ?? '')?.[1])
    const kept = lines.reduce((sum, line, index) => sum + (index === told ? 0 : line.length + 1), -1)
    t.equal(kept + dropped, flood.length + end.length, 'every byte is logged or counted')
    t.ok(
      lines.slice(told + 1, -2).every((line) => line.length === 1023),
      'they begin where a line does',
    )
  },
)

void t.test('a service that keeps to its share loses nothing, however it ends', async (t) => {
  const lab = makeLab(t)
  lab.supervisor.add(shell('says', 'seq 1 30000; echo why >&2; exit 3'))
  await lab.supervisor.start('says')
  await waitFor('its last line', () => lab.said('says').length === 30_001)
  t.notOk(lab.said('says').some((line) => line.includes('dropped')))
})

void t.test(
  'a flood that is stopped ends at once, with its last words and what of it was dropped',
  async (t) => {
    const lab = makeLab(t)
    // It goes on for long enough to use up what is left of its share.
    const ends =
      "(trap '' TERM; exec cat /dev/zero) & trap 'sleep 1; kill -9 $!; wait $!; printf bye; exit' TERM; wait"
    lab.supervisor.add(shell('zeros', ends))
    const startedAt = performance.now()
    await lab.supervisor.start('zeros')
    // A line is 64 KiB of them: the burst, and what has been allowed since.
    const allowed = (): number => 8 * MIB + ((performance.now() - startedAt) / 1_000) * MIB
    await waitFor('its share to be used up', () => lab.said('zeros').length * 64 * 1024 > allowed() - MIB / 2)
    const from = performance.now()
    await lab.supervisor.stop('zeros')
    const tookMs = Math.round(performance.now() - from)
    t.ok(tookMs < 2_500, `${tookMs} ms`)
    t.match(lab.said('zeros').at(-2), /^… \d+ bytes were dropped here/)
    t.match(lab.said('zeros').at(-1), /bye$/)
  },
)

void t.test('a service that writes on and on to its readiness descriptor is left to wait', async (t) => {
  const lab = makeLab(t)
  const folder = t.testdir()
  const script = `(while :; do head -c 65536 /dev/zero >&3 || exit; echo x >>${folder}/written; done) & exec sleep 60`
  lab.supervisor.add(shell('endless', script, { readiness: { kind: 'newline', fd: 3 }, readyTimeoutMs: 700 }))
  await t.rejects(lab.supervisor.start('endless'), { message: /no answer from descriptor 3/ })
  const written = readFileSync(join(folder, 'written'), 'utf8').length / 2
  t.ok(written < 20, `${written} × 64 KiB were read`)
})

void t.test('control characters are escaped as in JSON, and nothing else is', (t) => {
  t.equal(escapeControls('a\tb\u0000\u001b[1m\n\r\u007f\u009b'), 'a\tb\\u0000\\u001b[1m\\n\\r\\u007f\\u009b')
  t.equal(escapeControls('nothing – é 😀 "\\'), 'nothing – é 😀 "\\')
  for (let code = 0; code < 0x100; code += 1) {
    const text = `<${String.fromCharCode(code)}>`
    const isControl = (code < 0x20 && code !== 0x09) || (code >= 0x7f && code <= 0x9f)
    t.equal(escapeControls(text) === text, !isControl, code.toString(16))
  }
  t.end()
})

/** Of all kinds, without an end. */
const FLOODS: Readonly<Record<string, string>> = {
  nul: 'exec cat /dev/zero',
  'nul-err': 'exec cat /dev/zero >&2',
  binary: 'exec cat /dev/urandom',
  newlines: "exec yes ''",
  short: 'exec yes',
  'short-err': 'exec yes >&2',
  endless: "yes | tr -d '\\n'",
  escapes: 'exec yes "$(printf "\\033[2J\\033]0;x\\007")"',
  returns: 'yes "$(printf "\\r")" | tr -d "\\n"',
  both: 'cat /dev/zero >&2 & exec cat /dev/urandom',
}

async function untilUp(socket: string): Promise<void> {
  for (;;) {
    const status = await fetchStatus(socket).catch(() => undefined)
    if (status?.phase === 'running') return
    await systemClock.sleep(50)
  }
}

async function answerTimes(socket: string, count: number): Promise<number[]> {
  const times: number[] = []
  for (let asked = 0; asked < count; asked += 1) {
    const from = performance.now()
    await fetchStatus(socket)
    times.push(performance.now() - from)
    await systemClock.sleep(50)
  }
  return times.sort((a, b) => a - b)
}

function residentMib({ pid }: Container): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

void t.test(
  'ten floods: status answers, memory stays, a stop keeps its time',
  { skip: NEEDS_ROOT },
  async (t) => {
    const services = Object.entries(FLOODS).map(
      ([name, script]) => `  ${name}: { command: [sh, -c, ${JSON.stringify(script)}], stop_timeout: 2s }`,
    )
    const prepare = `mkdir -p /srv/project/.discobot
cat >/srv/project/.discobot/services.yaml <<'EOF'
services:
${services.join('\n')}
EOF
`
    const container = await startIsolated(t, {
      prepare,
      env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY: 'off', DISCOBOT_WORKSPACE: '/srv/project' },
      // Its output would be a flood for the test as well.
      command: [
        '/bin/sh',
        '-c',
        `exec "$0" "$1" run >/dev/null 2>&1`,
        process.execPath,
        join(BUILT, 'agent/main.js'),
      ],
    })
    const socket = `/proc/${container.pid}/root/run/discobot/agent.sock`
    await untilUp(socket)
    const times = await answerTimes(socket, 60)
    const [median = 0, worst = 0] = [times[30], times.at(-1)]
    t.ok(median < 250, `status answers within ${Math.round(median)} ms`)
    t.ok(worst < 2_000, `and within ${Math.round(worst)} ms at the worst`)
    t.ok(residentMib(container) < 200, `${Math.round(residentMib(container))} MiB resident`)
    const now = (await fetchStatus(socket)).services
    for (const name of Object.keys(FLOODS))
      t.equal(now.find((one) => one.name === name)?.state, 'ready', name)
    const from = performance.now()
    t.equal(await container.stop(), 0)
    const tookMs = Math.round(performance.now() - from)
    t.ok(tookMs < 8_000, `stopped after ${tookMs} ms`)
  },
)
