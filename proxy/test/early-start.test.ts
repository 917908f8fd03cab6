import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { HANDOVER_FD_VARIABLE } from '../../base/process/handover.js'
import { READY_FD_VARIABLE } from '../../base/process/ready-signal.js'
import { folder } from '../../test/lab/program.js'

// The promise: a proxy that is started early touches nothing until it is told to begin, and never stands in the way.

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))
const SECRET = 'only-in-the-handover'

interface Early {
  readonly child: ChildProcess
  readonly handover: Socket
  readonly ready: Socket
  readonly dataDir: string
  readonly said: () => string
}

function startEarly(t: Test): Early {
  const dir = folder(t)
  const dataDir = join(dir, 'data')
  const config = join(dir, 'config.yaml')
  writeFileSync(
    config,
    'proxy: { port: 0, api_port: 0 }\nsecrets: { IT: { hosts: [example.com], env: ITS_SECRET } }\n',
  )
  const child = spawn(process.execPath, [MAIN, '-config', config], {
    env: { DISCOBOT_DATA_DIR: dataDir, [HANDOVER_FD_VARIABLE]: '3', [READY_FD_VARIABLE]: '4' },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (piece: Buffer) => (said += piece.toString()))
  const [handover, ready] = [child.stdio[3], child.stdio[4]]
  if (!(handover instanceof Socket) || !(ready instanceof Socket)) throw new Error('no pipes')
  return { child, handover, ready, dataDir, said: () => said }
}

t.test('told to begin, it has what was handed over, and no other process can read it', async (t) => {
  const { child, handover, ready, said } = startEarly(t)
  handover.end(JSON.stringify({ env: { ITS_SECRET: SECRET } }))
  await once(ready, 'data')
  t.notMatch(readFileSync(`/proc/${child.pid}/environ`, 'utf8'), SECRET)
  child.kill('SIGTERM')
  t.strictSame(await once(child, 'close'), [0, null])
  t.match(said(), /proxy ready/, 'for which its configuration needs the secret')
})

t.test('stopped before that, it ends at once and has made nothing', async (t) => {
  const { child, dataDir } = startEarly(t)
  child.kill('SIGTERM')
  t.strictSame(await once(child, 'exit'), [null, 'SIGTERM'])
  t.notOk(existsSync(dataDir))
})

t.test('when who started it has ended, it does not begin by itself', async (t) => {
  const { child, handover, dataDir, said } = startEarly(t)
  handover.destroy()
  const [code] = (await once(child, 'close')) as [number]
  t.equal(code, 1)
  t.match(said(), /cannot start: who was to say when has ended/)
  t.notOk(existsSync(dataDir))
})
