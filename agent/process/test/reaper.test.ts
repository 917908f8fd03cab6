import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { childrenByParent, directChildren, parseStat } from '../proc-stat.js'

const run = promisify(execFile)
const churn = fileURLToPath(new URL('churn.js', import.meta.url))

interface Report {
  readonly pid: number
  readonly zombiesAtFirst: number
  readonly goneAfterMs: number
  readonly rightCodes: number
  readonly status: {
    readonly backend: string
    readonly reason?: string
    readonly reaped: number
    readonly zombies: number
  }
}

async function report(command: string, args: readonly string[]): Promise<Report> {
  const { stdout } = await run(command, args)
  return JSON.parse(stdout) as Report
}

const asProcess1 = ['--pid', '--fork', '--mount-proc', '--kill-child', process.execPath, churn]
const notRoot = process.getuid?.() === 0 ? false : 'needs root for a pid namespace; CI has it'

t.test(
  'as process 1, 200 orphans are gone within 2 s and no exit code is lost',
  { skip: notRoot },
  async (t) => {
    const { pid, zombiesAtFirst, goneAfterMs, rightCodes, status } = await report('unshare', asProcess1)
    t.equal(pid, 1)
    t.ok(zombiesAtFirst > 0, 'there were zombies to reap')
    t.ok(goneAfterMs < 2_000, `the last was gone after ${goneAfterMs} ms`)
    t.equal(rightCodes, 200, 'own children')
    t.strictSame(status, { backend: 'koffi', reaped: 200, zombies: 0 })
  },
)

t.test(
  '10,000 orphans and 2,000 own children at once: no zombie after 5 s, every code right',
  { skip: notRoot },
  async (t) => {
    const args = [...asProcess1, 'reaping', '10000', '2000']
    const { goneAfterMs, rightCodes, status } = await report('unshare', args)
    t.ok(goneAfterMs < 5_000, `the last was gone after ${goneAfterMs} ms`)
    t.equal(rightCodes, 2_000)
    t.strictSame(status, { backend: 'koffi', reaped: 10_000, zombies: 0 })
  },
)

t.test('below another init, orphans come to us and are reaped all the same', async (t) => {
  const { goneAfterMs, rightCodes, status } = await report(process.execPath, [churn])
  t.ok(goneAfterMs < 2_000, `the last was gone after ${goneAfterMs} ms`)
  t.equal(rightCodes, 200)
  t.strictSame(status, { backend: 'koffi', reaped: 200, zombies: 0 })
})

t.test(
  'without the native call zombies stay, are counted, and the reason is told',
  { skip: notRoot },
  async (t) => {
    const { rightCodes, status } = await report('unshare', [...asProcess1, 'without-native'])
    t.equal(rightCodes, 200)
    t.strictSame(status, { backend: 'none', reason: 'not today', reaped: 0, zombies: 200 })
  },
)

t.test('a process may be called anything', async (t) => {
  t.strictSame(parseStat('12 (a) b (c) R) S 1 7 7 0 -1'), {
    pid: 12,
    name: 'a) b (c) R',
    state: 'S',
    ppid: 1,
    pgrp: 7,
  })
  t.equal(parseStat('nonsense'), undefined)
})

t.test('children are found also where the kernel does not list them', async (t) => {
  const child = execFile('sleep', ['30'])
  t.teardown(() => child.kill('SIGKILL'))
  t.ok(directChildren().includes(child.pid ?? 0))
  t.strictSame(childrenByParent(), directChildren())
})
