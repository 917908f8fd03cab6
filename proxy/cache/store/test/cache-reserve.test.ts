// Promise: cache.min_free of the disk stays free. Entries make room for what comes, and where they cannot, what comes
// is served and not kept.
import { randomBytes } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadDefaultConfig } from '../../../../config/layers/load.js'
import { silentLogger, type Logger } from '../../../../base/log/logger.js'
import { get, openSlow, startCached, until } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const MIB = 1024 * 1024

/** A disk of so many bytes that has nothing but `dir` on it. */
function disk(dir: string, capacity: () => number): () => Promise<number> {
  const used = (): number =>
    readdirSync(dir).reduce(
      (sum, file) => sum + (statSync(join(dir, file), { throwIfNoEntry: false })?.size ?? 0),
      0,
    )
  return () => Promise.resolve(capacity() - used())
}

function watched(t: Test, lines: string[]): Logger {
  t.teardown(() => t.comment(lines.join('\n')))
  return {
    ...silentLogger,
    warn: (fields, message) => void lines.push(`${message} ${JSON.stringify(fields)}`),
  }
}

t.test('entries are evicted before the reserve is touched, and what is being read is not', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  const freeBytes = disk(dir, () => 200 * MIB)
  const minFree = 60 * MIB
  const { cache, front } = await startCached(t, origin.port, {
    dir,
    freeBytes,
    section: { min_free: minFree },
  })
  const [read, ...others] = Array.from({ length: 6 }, (_, at) => origin.addGenerated((30 + at) * MIB))
  await get(front.port, read ?? '')
  await until(() => cache.stats().stores === 1)
  const slow = await openSlow(t, front.port, read ?? '')
  await slow.readTo(1)
  for (const [at, path] of others.entries()) {
    t.equal((await get(front.port, path)).body.length, (31 + at) * MIB)
    await until(() => cache.stats().stores === at + 2)
    t.ok((await freeBytes()) >= minFree, `after ${at + 2}`)
  }
  // 195 MiB came where 140 have room, in entries of at least 30; a third one goes when the step beyond is looked at.
  t.ok(cache.stats().evictions >= 2)
  t.equal(cache.stats().errors, 0)
  t.equal((await get(front.port, read ?? '')).headers['x-cache'], 'HIT', 'it was the least recently used one')
  t.ok((await slow.drain()) > 30 * MIB)
})

t.test('where nothing can make room, bodies are served and not kept, and the log says why', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const lines: string[] = []
  // More than any disk has, as the system tells.
  const { cache, front, dir } = await startCached(t, origin.port, {
    logger: watched(t, lines),
    section: { min_free: 2 ** 52 },
  })
  const bytes = randomBytes(3 * MIB)
  const [announced, chunked] = [origin.add(bytes), `${origin.add(randomBytes(4 * MIB))}?chunked`]
  t.ok((await get(front.port, announced)).body.equals(bytes))
  t.equal((await get(front.port, chunked)).body.length, 4 * MIB)
  t.equal((await get(front.port, chunked)).body.length, 4 * MIB)
  await front.settled(3)
  await until(() => readdirSync(dir).filter((file) => file !== 'lock').length === 0)
  t.match(cache.stats(), { stores: 0, current_size: 0 })
  t.match(lines.join('\n'), /cache cannot write, traffic goes on uncached .*CACHE_DISK_RESERVE/)
})

t.test('a disk that others fill up while a body comes ends the keeping of it', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  let capacity = 1024 * MIB
  const { cache, front } = await startCached(t, origin.port, {
    dir,
    freeBytes: disk(dir, () => capacity),
    section: { min_free: 100 * MIB },
  })
  const path = origin.addGenerated(80 * MIB)
  const slow = await openSlow(t, front.port, `${path}?stall`)
  await slow.readTo(30 * MIB)
  capacity = 50 * MIB
  const drained = slow.drain()
  let ended = false
  void drained.then(() => (ended = true))
  await until(() => {
    // It may not have come as far as to stall when we are here.
    origin.release()
    return ended
  })
  t.ok((await drained) > 80 * MIB)
  await until(() => readdirSync(dir).filter((file) => file !== 'lock').length === 0)
  t.match(cache.stats(), { stores: 0, errors: 1 })
})

t.test('a larger reserve makes room at once', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  const { cache, front } = await startCached(t, origin.port, {
    dir,
    freeBytes: disk(dir, () => 100 * MIB),
    section: { min_free: 0 },
  })
  const paths = Array.from({ length: 3 }, () => origin.add(randomBytes(10 * MIB)))
  for (const path of paths) await get(front.port, path)
  await until(() => cache.stats().stores === 3)
  await cache.reconfigure({
    ...loadDefaultConfig().config.cache,
    patterns: ['^/v2/'],
    dir,
    min_free: 60 * MIB,
  })
  await until(() => cache.stats().evictions >= 1)
  await until(() => readdirSync(dir).filter((file) => file.endsWith('.meta')).length < 3)
  t.equal((await get(front.port, paths[2] ?? '')).headers['x-cache'], 'HIT', 'the most recently used one')
})
