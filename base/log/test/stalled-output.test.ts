import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { waitFor } from '../../../test/lab/service-lab.js'

const PROGRAM = fileURLToPath(new URL('stalled-output.js', import.meta.url))

interface Talker {
  readonly child: ChildProcess
  said(): string
  readonly ended: Promise<unknown>
}

function talk(
  t: { teardown(fn: () => unknown): unknown },
  args: readonly string[],
  stdout: 'pipe' | number = 'pipe',
): Talker {
  const child = spawn(execPath, [PROGRAM, ...args], { stdio: ['ignore', stdout, 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr?.on('data', (chunk) => (said += String(chunk)))
  return { child, said: () => said, ended: new Promise((resolve) => child.on('close', resolve)) }
}

for (const [how, ...flags] of [['line by line'], ['gathered', 'gathers']] as const) {
  t.test(`${how}: a reader that never reads blocks nothing; lines are lost and counted`, async (t) => {
    // 5 MB: more than the pipe and the queue together.
    const { child, said, ended } = talk(t, ['50000', '100', ...flags])
    await waitFor('the work to be done', () => said().includes('done'))
    child.kill('SIGUSR2')
    await waitFor('a sign of life', () => said().includes('said'))
    let output = ''
    child.stdout?.on('data', (chunk) => (output += String(chunk)))
    await waitFor('the count', () => /lines of this log were lost lines=\d+/.test(output))
    child.kill('SIGUSR2')
    await waitFor('what is said now', () => output.endsWith('afterwards\n'))
    child.kill('SIGTERM')
    await ended
    const lines = output.trimEnd().split('\n')
    const numbers = lines.flatMap((line) => / n(\d+) x/.exec(line)?.[1] ?? []).map(Number)
    t.strictSame(
      numbers,
      numbers.map((_, index) => index),
      'what came through is whole and in order',
    )
    const lost = Number(/lost lines=(\d+) reason="nobody read them"/.exec(output)?.[1])
    const after = lines.filter((line) => line.endsWith('afterwards')).length
    t.equal(numbers.length + lost + after, 50_000 + 2, 'every line has come through or is counted')
  })

  t.test(`${how}: a reader that is only slow loses nothing, not even the last words`, async (t) => {
    const { child, said, ended } = talk(t, ['5000', '100', ...flags])
    await waitFor('the work to be done', () => said().includes('done'))
    let output = ''
    child.stdout?.on('data', (chunk) => (output += String(chunk)))
    await waitFor('the first lines', () => output.length > 1_000)
    child.kill('SIGTERM')
    await ended
    t.equal(output.split('\n').filter((line) => / n\d+ x+$/.test(line)).length, 5_000)
  })
}

t.test('a reader that has gone, and a disk that is full, do not end it', async (t) => {
  const gone = talk(t, ['1'])
  await waitFor('the work to be done', () => gone.said().includes('done'))
  gone.child.stdout?.destroy()
  const full = openSync('/dev/full', 'w')
  t.teardown(() => closeSync(full))
  const filled = talk(t, ['1'], full)
  await waitFor('the work to be done', () => filled.said().includes('done'))
  for (const { child, said } of [gone, filled]) {
    child.kill('SIGUSR2')
    await waitFor('a sign of life', () => said().includes('said'))
    t.equal(child.exitCode, null)
  }
})

/** Starts the program with a terminal that nobody reads, and passes on what it says on stderr. */
const ON_TERMINAL = `
import os, pty, subprocess, sys
master, slave = pty.openpty()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE, text=True)
os.close(slave)
print(child.stderr.readline().strip(), flush=True)
child.send_signal(12)
print(child.stderr.readline().strip(), flush=True)
child.kill()
`

t.test('a terminal that nobody reads blocks nothing', async (t) => {
  const child = spawn('python3', ['-c', ON_TERMINAL, execPath, PROGRAM, '50000'])
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (chunk) => (said += String(chunk)))
  await waitFor('the work to be done', () => said.includes('done'))
  await waitFor('a sign of life', () => said.endsWith('said\n'))
  t.pass('it goes on')
})
