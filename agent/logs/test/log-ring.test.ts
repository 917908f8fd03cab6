import t from 'tap'
import { silentLogger, type Logger } from '../../../base/log/logger.js'
import { systemClock } from '../../process/clock.js'
import { keptLogger } from '../kept-logger.js'
import { jsonEntry, readableEntry, type LogEntry } from '../log-entry.js'
import { LogRing } from '../log-ring.js'
import { LogStore } from '../log-store.js'

const entry = (seq: number, text: string): LogEntry => ({
  seq,
  time: 0,
  service: 'web',
  stream: 'stdout',
  level: 'info',
  text,
})

t.test('a ring holds the newest lines within its bytes, and one line whatever its size', async (t) => {
  const ring = new LogRing(10_000)
  for (let seq = 1; seq <= 5_000; seq += 1) {
    ring.add(entry(seq, 'x'.repeat(seq % 50)))
    if (ring.bytes > 10_000) t.fail(`${ring.bytes} bytes after ${seq}`)
  }
  const all = ring.after(0, 9_999)
  t.ok(all.length > 30, `${all.length} lines`)
  t.equal(all.at(-1)?.seq, 5_000)
  t.equal(all[0]?.seq, ring.lostThrough + 1)
  t.strictSame(
    ring.after(4_990, 3).map(({ seq }) => seq),
    [4_991, 4_992, 4_993],
  )
  t.strictSame(
    ring.last(2).map(({ seq }) => seq),
    [4_999, 5_000],
  )
  ring.add(entry(5_001, 'x'.repeat(100_000)))
  t.strictSame(
    ring.after(0, 9).map(({ seq }) => seq),
    [5_001],
  )
})

t.test('one service that talks does not cost another its lines', async (t) => {
  const store = new LogStore({ maxBytesPerService: 5_000 })
  const add = (service: string, text: string): void =>
    store.add({ time: 0, service, stream: 'stderr', level: 'info', text })
  add('quiet', 'only once')
  for (let i = 0; i < 1_000; i += 1) add('loud', `again ${i}`)
  add('quiet', 'and now')
  t.strictSame(
    store.last(9, 'quiet').map(({ text }) => text),
    ['only once', 'and now'],
  )
  t.strictSame(
    store.last(2).map(({ text }) => text),
    ['again 999', 'and now'],
  )
  t.equal(store.lostAfter(0, 'quiet'), false)
  t.equal(store.lostAfter(0), true)
  t.strictSame(
    store.after(999, 10).map(({ seq }) => seq),
    [1_000, 1_001, 1_002],
  )
})

t.test('lines of services are kept under their names, ours under "agent", by level', async (t) => {
  const store = new LogStore({ maxBytesPerService: 5_000 })
  const warnings: Logger = { ...silentLogger, isLevelEnabled: (level) => level === 'warn' }
  const quiet = (): Logger => ({
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
    isLevelEnabled: warnings.isLevelEnabled,
    child: quiet,
  })
  const logger = keptLogger(quiet(), store, systemClock)
  logger.child({ service: 'web', stream: 'stdout' }).warn({}, 'said by web')
  logger.warn({ service: 'web', ms: 3 }, 'said of web')
  logger.info({}, 'below the level')
  t.match(store.last(9), [
    { service: 'web', stream: 'stdout', text: 'said by web' },
    { service: 'agent', stream: 'agent', text: 'said of web service=web ms=3' },
  ])
  t.equal(store.last(9).length, 2)
})

t.test('a line moves no cursor, and is one line in every form', async (t) => {
  const wild = entry(7, 'a\u001b[2Jb\u009b2Jc\rd\ne\u007f\0')
  t.equal(
    readableEntry(wild),
    String.raw`1970-01-01T00:00:00.000Z INFO  web stdout a\u001b[2Jb\u009b2Jc\rd\ne\u007f\u0000`,
  )
  const json = jsonEntry(wild)
  t.notMatch(json, /[\n\r\u001b]/)
  t.match(JSON.parse(json), { time: '1970-01-01T00:00:00.000Z', text: wild.text })
})
