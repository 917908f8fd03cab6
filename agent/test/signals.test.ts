import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { waitFor } from './lab.js'

const program = fileURLToPath(new URL('signalled.js', import.meta.url))

t.test('every signal an init is sent is taken, and none opens a debugger', async (t) => {
  const child = spawn(process.execPath, [program])
  t.teardown(() => child.kill('SIGKILL'))
  const ended = new Promise((resolve) => child.on('exit', (code) => resolve(code)))
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk) => (output += String(chunk)))
  child.stderr.on('data', (chunk) => (errors += String(chunk)))
  const expect = async (line: string, signal?: NodeJS.Signals): Promise<void> => {
    if (signal !== undefined) child.kill(signal)
    await waitFor(line, () => output.endsWith(`${line}\n`))
    t.pass(line)
  }
  await expect('listening')
  await expect('forward SIGUSR1', 'SIGUSR1')
  await expect('forward SIGUSR2', 'SIGUSR2')
  await expect('forward SIGWINCH', 'SIGWINCH')
  await expect('reload', 'SIGHUP')
  await expect('stop SIGTERM', 'SIGTERM')
  await expect('hurry', 'SIGINT')
  await expect('kill', 'SIGQUIT')
  t.equal(await ended, 0)
  t.notMatch(errors, /Debugger/)
})
