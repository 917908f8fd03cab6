import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { shortFolder, waitFor } from '../../test/lab/service-lab.js'

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))

interface Agent {
  readonly child: ChildProcess
  output(): string
  readonly ended: Promise<number | null>
}

/** An agent without a proxy that runs the script and has said `up`. */
async function startAgent(t: { teardown(fn: () => unknown): unknown }, script: string): Promise<Agent> {
  const folder = shortFolder(t)
  mkdirSync(join(folder, 'home'))
  const child = spawn(execPath, [MAIN, 'run'], {
    env: {
      PATH: process.env['PATH'],
      HOME: join(folder, 'home'),
      DISCOBOT_DATA_DIR: join(folder, 'data'),
      DISCOBOT_PROXY: 'off',
      DISCOBOT_AGENT_COMMAND: JSON.stringify(['sh', '-c', script]),
    },
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await waitFor('the agent', () => output.includes('Discobot is up') && / up +service=agent-api/.test(output))
  return { child, output: () => output, ended }
}

t.test('USR1, USR2 and WINCH reach the agent command, and open no debugger', async (t) => {
  const traps = ['USR1', 'USR2', 'WINCH'].map((name) => `trap "echo got ${name}" ${name}`).join('; ')
  const { child, output, ended } = await startAgent(t, `${traps}; echo up; while :; do sleep 0.02; done`)
  for (const name of ['USR1', 'USR2', 'WINCH'] as const) {
    child.kill(`SIG${name}`)
    await waitFor(name, () => output().includes(`got ${name}`))
  }
  t.notMatch(output(), /Debugger|inspector/i)
  child.kill('SIGHUP')
  await waitFor('the reload', () => output().includes('configuration read again'))
  child.kill('SIGTERM')
  t.equal(await ended, 0)
})

t.test('whoever asks a second time waits half as long, and a third time not at all', async (t) => {
  const { child, output, ended } = await startAgent(t, 'trap "" TERM; echo up; while :; do sleep 0.05; done')
  child.kill('SIGTERM')
  await waitFor('the stop', () => output().includes('still stopping'))
  const left = (): number[] => [...output().matchAll(/leftMs=(\d+)/g)].map((match) => Number(match[1]))
  const before = left().at(-1) ?? 0
  t.ok(before > 30_000, `${before} ms are left of 35 s`)
  child.kill('SIGINT')
  await waitFor('the next line', () => left().length > 1)
  const after = left().at(-1) ?? 0
  t.ok(after < before / 2, `${after} ms are left`)
  const askedAt = performance.now()
  child.kill('SIGTERM')
  t.equal(await ended, 0)
  // Its own grace would have been ten seconds.
  t.ok(performance.now() - askedAt < 5_000)
  t.match(output(), /stopped .*killed=agent-api/)
})
