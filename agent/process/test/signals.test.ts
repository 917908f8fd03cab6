import { spawn } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { handleSignals } from '../signals.js'
import { waitFor } from '../../../test/lab/service-lab.js'

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

void t.test(
  'a key that comes twice, from the terminal and from npm, counts once; pressed again it counts',
  (t) => {
    const source = new EventEmitter()
    const seen: string[] = []
    let now = 1_000
    const none = (): void => undefined
    handleSignals({
      logger: silentLogger,
      onStop: (signal) => seen.push(signal),
      onHurry: () => seen.push('hurry'),
      onKill: () => seen.push('kill'),
      onReload: none,
      forward: none,
      now: () => now,
      source,
    })
    const arrives = (afterMs: number, signal: NodeJS.Signals): void => {
      now += afterMs
      source.emit(signal, signal)
    }
    arrives(0, 'SIGINT')
    arrives(40, 'SIGINT')
    t.strictSame(seen, ['SIGINT'])
    arrives(300, 'SIGINT')
    arrives(300, 'SIGINT')
    t.strictSame(seen, ['SIGINT', 'hurry'], 'who presses it again and again is heard')
    arrives(10, 'SIGTERM')
    t.strictSame(seen, ['SIGINT', 'hurry', 'kill'], 'another signal is another wish')
    const twice: string[] = []
    const terminated = new EventEmitter()
    handleSignals({
      logger: silentLogger,
      onStop: (signal) => twice.push(signal),
      onHurry: () => twice.push('hurry'),
      onKill: none,
      onReload: none,
      forward: none,
      now: () => now,
      source: terminated,
    })
    for (let sent = 0; sent < 2; sent += 1) terminated.emit('SIGTERM', 'SIGTERM')
    t.strictSame(twice, ['SIGTERM', 'hurry'], 'no terminal sends this one')
    t.end()
  },
)
