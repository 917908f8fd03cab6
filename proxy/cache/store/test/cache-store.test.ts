import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { mkdir, open, readdir, stat, truncate, unlink, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Logger } from '../../../../base/log/logger.js'
import { silentLogger } from '../../../../base/log/logger.js'
import {
  get,
  openSlow,
  openTestCache,
  startCached,
  startFront,
  until,
} from '../../../../test/lab/cache-front.js'
import { startCacheProcess } from './cache-process.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const MIB = 1024 * 1024

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Collects the lines that matter to an operator. */
function listening(lines: string[]): Logger {
  const keep = (fields: object, message: string): void =>
    void lines.push(`${message} ${JSON.stringify(fields)}`)
  return { ...silentLogger, warn: keep, error: keep, debug: () => undefined, info: () => undefined }
}

function entryFiles(dir: string): string[] {
  return readdirSync(dir).filter((file) => file !== 'lock')
}

async function hitOrMiss(port: number, path: string): Promise<string | string[] | undefined> {
  const { headers, body } = await get(port, path)
  const hex = /[0-9a-f]{64}/.exec(path)?.[0]
  if (hex !== undefined && sha256(body) !== hex) throw new Error(`wrong bytes for ${path}`)
  return headers['x-cache']
}

t.test('entries and the order of their last use survive a restart', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  let now = Date.UTC(2026, 0, 1)
  const tick = (): number => (now += 120_000)
  const paths = Array.from({ length: 5 }, () => origin.add(randomBytes(1_000_000)))
  const first = await openTestCache(dir, { now: () => now })
  const front = await startFront(first, origin.port)
  for (const path of paths) {
    tick()
    await get(front.port, path)
  }
  tick()
  t.equal(await hitOrMiss(front.port, paths[0] ?? ''), 'HIT', 'now the most recently used')
  const before = first.stats().current_size
  await first.close()
  await front.close()

  tick()
  const { cache, front: again } = await startCached(t, origin.port, {
    dir,
    maxSize: 3_100_000,
    now: () => now,
  })
  t.equal(await hitOrMiss(again.port, paths[4] ?? ''), 'HIT', 'at once, while the index loads')
  await until(() => cache.stats().evictions === 2)
  await until(() => entryFiles(dir).length === 6)
  t.equal(cache.stats().current_size, (before / 5) * 3, 'counted on reload as on write')
  for (const [at, expected] of ['HIT', undefined, undefined, 'HIT', 'HIT'].entries()) {
    if (expected !== undefined) t.equal(await hitOrMiss(again.port, paths[at] ?? ''), expected, `entry ${at}`)
  }
  t.equal(await hitOrMiss(again.port, paths[1] ?? ''), 'MISS', 'the least recently used went')
})

t.test('eviction makes room by last use, and what is being read is read to its end', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { cache, front, dir } = await startCached(t, origin.port, { maxSize: 40 * MIB })
  const big = origin.addGenerated(30 * MIB)
  await get(front.port, big)
  await until(() => cache.stats().stores === 1)
  const slow = await openSlow(t, front.port, big)
  await slow.readTo(1)
  const other = origin.addGenerated(20 * MIB)
  await get(front.port, other)
  await until(() => cache.stats().evictions === 1)
  await until(() => entryFiles(dir).length === 2)
  t.ok((await slow.drain()) > 30 * MIB)
  await front.settled(3)
  t.match(front.outcomes.at(-1), { kind: 'served', cache: 'HIT', bytes: 30 * MIB })
  t.ok(cache.stats().current_size <= 40 * MIB)
  t.equal(await hitOrMiss(front.port, other), 'HIT')
})

t.test('clear removes every entry, not what is being read, and they can be fetched again', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { cache, front, dir } = await startCached(t, origin.port)
  const paths = [origin.addGenerated(30 * MIB), origin.add('a'), origin.add('b')]
  for (const path of paths) await get(front.port, path)
  await until(() => cache.stats().stores === 3)
  const slow = await openSlow(t, front.port, paths[0] ?? '')
  await slow.readTo(1)
  const { current_size: size } = cache.stats()
  t.same(await cache.clear(), { entries: 3, bytes: size })
  t.same(entryFiles(dir), [])
  t.equal(cache.stats().current_size, 0)
  t.ok((await slow.drain()) > 30 * MIB)
  for (const path of paths) t.equal(await hitOrMiss(front.port, path), 'MISS')
})

t.test('a damaged entry is dropped, counted and fetched anew, never served', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { cache, front, dir } = await startCached(t, origin.port, { section: { memory: 0 } })
  const path = origin.add(randomBytes(100_000))
  const other = origin.add(randomBytes(100_000))
  await get(front.port, other)
  await get(front.port, path)
  await until(() => cache.stats().stores === 2)
  const name = createHash('sha256')
    .update(`blob sha256:${path.slice(-64)}`)
    .digest('hex')
  const otherName = createHash('sha256')
    .update(`blob sha256:${other.slice(-64)}`)
    .digest('hex')
  const body = join(dir, name)
  const meta = `${body}.meta`
  const otherMeta = readFileSync(join(dir, `${otherName}.meta`))
  const damages: [string, () => Promise<void> | void][] = [
    ['meta is garbage', () => writeFileSync(meta, '{"version":1')],
    ['meta of another version', () => writeFileSync(meta, readFileSync(meta, 'utf8').replace('1', '99'))],
    ['meta of another entry', () => writeFileSync(meta, otherMeta)],
    ['body is shorter', () => truncate(body, 50_000)],
    ['body is longer', () => truncate(body, 100_001)],
    ['body is gone', () => unlink(body)],
    [
      'body is a folder',
      async () => {
        await unlink(body)
        await mkdir(body)
      },
    ],
  ]
  for (const [at, [what, damage]] of damages.entries()) {
    await damage()
    if (what === 'body is a folder') {
      // Nobody makes one by accident; it must only not be followed, served, or break the traffic.
      t.not(await hitOrMiss(front.port, path), 'HIT', what)
      continue
    }
    t.equal(await hitOrMiss(front.port, path), 'MISS', what)
    t.equal(cache.stats().errors, at + 1)
    await until(() => cache.stats().stores === at + 3)
    t.equal(await hitOrMiss(front.port, path), 'HIT', `${what}: whole again`)
  }
})

t.test('a body that ends short while it is read is broken off and dropped', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { cache, front, dir } = await startCached(t, origin.port)
  const path = origin.addGenerated(40 * MIB)
  await get(front.port, path)
  await until(() => cache.stats().stores === 1)
  const slow = await openSlow(t, front.port, path)
  await slow.readTo(1)
  const name = createHash('sha256')
    .update(`blob sha256:${path.slice(-64)}`)
    .digest('hex')
  await truncate(join(dir, name), 39 * MIB)
  t.ok((await slow.drain()) < 40 * MIB)
  await front.settled(2)
  t.match(front.outcomes.at(-1), { kind: 'threw', error: { code: 'BODY_ABORTED' } })
  t.equal(await hitOrMiss(front.port, path), 'MISS')
})

t.test('a body that is written to while it is read is broken off and dropped', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache, dir } = await startCached(t, origin.port)
  const path = origin.addGenerated(40 * MIB)
  await get(front.port, path)
  await until(() => cache.stats().stores === 1)
  const slow = await openSlow(t, front.port, path)
  await slow.readTo(1)
  const name = createHash('sha256')
    .update(`blob sha256:${path.slice(-64)}`)
    .digest('hex')
  const file = await open(join(dir, name), 'r+')
  await file.write(Buffer.from('xxx'), 0, 3, 39 * MIB)
  await file.close()
  t.ok((await slow.drain()) < 40 * MIB)
  await front.settled(2)
  t.match(front.outcomes.at(-1), { kind: 'threw', error: { code: 'BODY_ABORTED' } })
  t.equal(await hitOrMiss(front.port, path), 'MISS')
})

t.test('after a stop without goodbye, a flipped bit is found before it is served', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  const paths = [origin.add(randomBytes(3 * MIB)), origin.add(randomBytes(3 * MIB))]
  const child = await startCacheProcess(t, dir, origin.port)
  for (const path of paths) await get(child.port, path)
  await until(() => entryFiles(dir).filter((file) => file.endsWith('.meta')).length === 2)
  await until(() => !entryFiles(dir).some((file) => file.endsWith('.tmp')))
  await child.kill()
  const name = createHash('sha256')
    .update(`blob sha256:${(paths[0] ?? '').slice(-64)}`)
    .digest('hex')
  const file = await open(join(dir, name), 'r+')
  await file.write(Buffer.from([0]), 0, 1, 1_000_000)
  await file.write(Buffer.from([255]), 0, 1, 1_000_001)
  await file.close()
  const { cache, front } = await startCached(t, origin.port, { dir })
  t.equal(await hitOrMiss(front.port, paths[0] ?? ''), 'MISS')
  t.equal(await hitOrMiss(front.port, paths[1] ?? ''), 'HIT')
  t.equal(cache.stats().errors, 1)
})

t.test('kill -9 in the middle of fills leaves no orphan and no wrong byte', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  const whole = origin.add(randomBytes(500_000))
  const halves = Array.from({ length: 3 }, (_, at) => `${origin.addGenerated((8 + at) * MIB)}`)
  const child = await startCacheProcess(t, dir, origin.port)
  await get(child.port, whole)
  const readers = await Promise.all(halves.map((path) => openSlow(t, child.port, `${path}?stall`)))
  await Promise.all(readers.map((reader) => reader.readTo(2 * MIB)))
  await child.kill()
  t.equal(entryFiles(dir).filter((file) => file.endsWith('.tmp')).length, 3, 'left by the crash')
  writeFileSync(join(dir, 'f'.repeat(64)), 'a body whose meta was never written')
  writeFileSync(join(dir, 'precious.txt'), 'not ours')
  const { cache, front } = await startCached(t, origin.port, { dir })
  for (const path of halves) t.equal(await hitOrMiss(front.port, path), 'MISS')
  t.equal(await hitOrMiss(front.port, whole), 'HIT')
  await until(() => cache.stats().stores === 3)
  const left = entryFiles(dir)
  t.equal(left.filter((file) => /^[0-9a-f]{64}(\.meta)?$/.test(file)).length, 8)
  t.equal(left.length, 9)
  t.ok(left.includes('precious.txt'))
  let sum = 0
  for (const file of left.filter((name) => name !== 'precious.txt')) {
    sum += Math.ceil((await stat(join(dir, file))).size / 4096) * 4096
  }
  t.equal(cache.stats().current_size, sum)
})

t.test('two processes on one directory: the second goes on without a cache and says why', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  const child = await startCacheProcess(t, dir, origin.port)
  const lines: string[] = []
  const second = await openTestCache(dir, { logger: listening(lines) })
  t.match(lines.join('\n'), /cache is off.*process \d+ is using it.*CACHE_LOCKED/)
  const front = await startFront(second, origin.port)
  t.teardown(() => front.close())
  t.equal((await get(front.port, origin.add('content'))).body.toString(), 'content')
  t.match(second.stats(), { hits: 0, misses: 0, stores: 0 })
  await second.close()
  await child.kill()
  const third = await openTestCache(dir)
  t.equal(
    third.covers({ method: 'GET', authority: 'a.test:443', path: origin.add('x') } as never),
    true,
    'a dead holder holds nothing',
  )
  const fourth = await openTestCache(dir)
  t.equal(
    fourth.covers({ method: 'GET', authority: 'a.test:443', path: origin.add('x') } as never),
    false,
    'nor in one process',
  )
  await third.close()
  const fifth = await openTestCache(dir)
  t.equal(fifth.covers({ method: 'GET', authority: 'a.test:443', path: origin.add('x') } as never), true)
  await fifth.close()
})

t.test('a pid that was given out again does not hold the lock', async (t) => {
  const dir = t.testdir()
  const cache = await openTestCache(dir)
  const path = join(dir, 'lock')
  const held = readFileSync(path, 'utf8')
  await cache.close()
  writeFileSync(path, held.replace(/"startTicks":"\d+"/, '"startTicks":"1"'))
  const next = await openTestCache(dir)
  t.equal(next.covers({ method: 'GET', authority: 'a.test:443', path: `/v2/a/blobs/sha256:` } as never), true)
  await next.close()
})

t.test('a directory that cannot be used turns the cache off, with the reason', async (t) => {
  const dir = t.testdir({ file: 'not a folder' })
  const lines: string[] = []
  const cache = await openTestCache(join(dir, 'file', 'cache'), { logger: listening(lines) })
  t.equal(
    cache.covers({ method: 'GET', authority: 'a.test:443', path: `/v2/a/blobs/sha256:` } as never),
    false,
  )
  t.match(lines.join('\n'), /cache is off.*ENOTDIR/)
  await cache.close()
})

t.test('entries not used for a while are the first to go, also by what is on disk only', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  const paths = Array.from({ length: 3 }, () => origin.add(randomBytes(1_000_000)))
  const first = await openTestCache(dir)
  const front = await startFront(first, origin.port)
  for (const path of paths) await get(front.port, path)
  await first.close()
  await front.close()
  for (const [at, path] of paths.entries()) {
    const name = createHash('sha256')
      .update(`blob sha256:${path.slice(-64)}`)
      .digest('hex')
    await utimes(join(dir, `${name}.meta`), 1000 - at, 1000 - at)
  }
  const cache = await openTestCache(dir, { maxSize: 1_100_000 })
  await until(() => cache.stats().evictions === 2)
  await cache.close()
  const [kept] = await readdir(dir)
  const newest = createHash('sha256')
    .update(`blob sha256:${(paths[0] ?? '').slice(-64)}`)
    .digest('hex')
  t.equal(kept, newest)
})
