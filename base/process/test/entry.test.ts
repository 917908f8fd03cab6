import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { entry, unattended } from '../entry.js'
import { keepLines } from '../../../test/lab/kept-lines.js'

const connection = (): { remoteAddress: string; remotePort: number; ended: boolean; destroy(): void } => {
  const socket = {
    remoteAddress: '192.0.2.7',
    remotePort: 4711,
    ended: false,
    destroy: () => void (socket.ended = true),
  }
  return socket
}

t.test(
  'what an entry throws, at once or later, is told with its connection and ends only that',
  async (t) => {
    const { logger, faults } = keepLines()
    const fail = (later: boolean): Promise<void> => {
      if (!later) throw new TypeError('planted')
      return Promise.reject(new TypeError('planted'))
    }
    const enter = entry(
      { name: 'door', logger, ends: (socket) => socket },
      (_socket: ReturnType<typeof connection>, later: boolean) => fail(later),
    )
    for (const later of [false, true]) {
      const [one, other] = [connection(), connection()]
      enter(one, later)
      await new Promise(setImmediate)
      t.match(faults().at(-1), {
        level: 'error',
        fields: { entry: 'door', client: '192.0.2.7 4711', reason: 'planted', stack: /TypeError: planted\n/ },
      })
      t.match([one.ended, other.ended], [true, false])
    }
    t.equal(faults().length, 2)
  },
)

t.test('an entry whose work goes well leaves its connection alone', async (t) => {
  const { logger, lines } = keepLines()
  const socket = connection()
  const enter = entry(
    { name: 'door', logger, ends: (one) => one },
    (_socket: ReturnType<typeof connection>) => Promise.resolve(),
  )
  enter(socket)
  await new Promise(setImmediate)
  t.strictSame({ ended: socket.ended, lines }, { ended: false, lines: [] })
})

t.test('a log that fails in telling keeps neither the connection open nor the fault going', async (t) => {
  const { logger } = keepLines(() => {
    throw new Error('the log is full')
  })
  const socket = connection()
  entry({ name: 'door', logger, ends: (one) => one }, (_socket: ReturnType<typeof connection>) => {
    throw new Error('planted')
  })(socket)
  t.equal(socket.ended, true)
  unattended(logger, 'work', Promise.reject(new Error('planted')))
  await new Promise(setImmediate)
})

t.test('work that nobody waits for tells its fault', async (t) => {
  const { logger, faults } = keepLines()
  unattended(logger, 'a look', Promise.reject(new Error('planted')))
  await new Promise(setImmediate)
  t.match(faults(), [{ fields: { work: 'a look', reason: 'planted' } }])
})

t.test('a program outlives what no entry has caught, until it takes that back', async (t) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./outliving.js', import.meta.url))])
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const code = await new Promise((resolve) => child.once('close', resolve))
  t.match(output, /a fault of ours +origin=uncaughtException reason=thrown .*outliving/)
  t.match(output, /a fault of ours +origin=unhandledRejection reason=rejected .*outliving/)
  t.match(output, /went on\n/)
  t.equal(code, 1, 'what comes afterwards ends it as ever')
})
