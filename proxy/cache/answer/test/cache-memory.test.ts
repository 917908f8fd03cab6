// Promise: a small entry that was served once is served from memory, within cache.memory, and never once it is gone
// or another one.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import { truncate } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { loadDefaultConfig } from '../../../../config/layers/load.js'
import { silentLogger } from '../../../../base/log/logger.js'
import { openCache } from '../../open-cache.js'
import { SmallEntries } from '../../store/small-entries.js'
import type { StoredEntry } from '../../entry/stored-entry.js'
import { get, startCached, until } from '../../../../test/lab/cache-front.js'
import { openRaw, startHttpOrigin, startProxy } from '../../../../test/lab/harness.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const KIB = 1024

function bodyFile(dir: string, path: string): string {
  const text = `blob sha256:${path.slice(-64)}`
  return join(dir, createHash('sha256').update(text).digest('hex'))
}

t.test(
  'the second hit on a small entry reads no file; large ones are read from disk each time',
  async (t) => {
    const origin = await MisbehavingOrigin.start(t)
    const { cache, front, dir } = await startCached(t, origin.port)
    const bytes = randomBytes(200 * KIB)
    const [small, large] = [origin.add(bytes), origin.add(randomBytes(300 * KIB))]
    for (const path of [small, large]) await get(front.port, path)
    await until(() => cache.stats().stores === 2)
    for (const path of [small, large]) t.equal((await get(front.port, path)).headers['x-cache'], 'HIT')
    t.ok(cache.stats().memory_size > 200 * KIB)
    t.ok(cache.stats().memory_size < 210 * KIB, 'the large one is not among them')

    for (const path of [small, large]) await truncate(bodyFile(dir, path), 10)
    writeFileSync(`${bodyFile(dir, small)}.meta`, 'nonsense')
    const hit = await get(front.port, small)
    t.match(hit, { status: 200, headers: { 'x-cache': 'HIT', 'content-length': String(200 * KIB) } })
    t.ok(hit.body.equals(bytes))
    t.ok((await get(front.port, small, { range: 'bytes=5-9' })).body.equals(bytes.subarray(5, 10)))
    t.equal((await get(front.port, small, {}, 'HEAD')).headers['content-length'], String(200 * KIB))
    t.equal((await get(front.port, large)).headers['x-cache'], 'MISS')
  },
)

t.test('memory stays below its bound, the most recently used ones in it; 0 holds nothing', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const memory = 100 * KIB
  const { cache, front, dir } = await startCached(t, origin.port, { section: { memory } })
  const paths = Array.from({ length: 8 }, () => origin.add(randomBytes(30 * KIB)))
  for (const path of paths) await get(front.port, path)
  await until(() => cache.stats().stores === paths.length)
  for (const path of paths) {
    await get(front.port, path)
    t.ok(cache.stats().memory_size <= memory)
  }
  for (const path of paths) await truncate(bodyFile(dir, path), 0)
  for (const path of paths.slice(-3)) t.equal((await get(front.port, path)).headers['x-cache'], 'HIT')
  t.equal((await get(front.port, paths[0] ?? '')).headers['x-cache'], 'MISS', 'no longer in memory')

  const { cache: section } = loadDefaultConfig().config
  await cache.reconfigure({ ...section, patterns: ['^/v2/'], dir, min_free: 0, memory: 0 })
  t.equal(cache.stats().memory_size, 0)
  t.equal((await get(front.port, paths.at(-1) ?? '')).headers['x-cache'], 'MISS')
})

t.test('what is evicted, cleared or replaced is not served from memory any more', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  let now = Date.UTC(2026, 0, 1)
  const { cache, front, dir } = await startCached(t, origin.port, {
    maxSize: 300 * KIB,
    now: () => now,
    section: { ttl: 60_000, stale_if_error: 0 },
  })
  const [first, second] = [origin.add(randomBytes(100 * KIB)), origin.add(randomBytes(250 * KIB))]
  const hit = async (path: string): Promise<unknown> => (await get(front.port, path)).headers['x-cache']
  t.equal(await hit(first), 'MISS')
  await until(() => cache.stats().stores === 1)
  t.equal(await hit(first), 'HIT')
  t.equal(await hit(second), 'MISS')
  await until(() => cache.stats().evictions === 1)
  t.equal(cache.stats().memory_size, 0)
  t.equal(await hit(first), 'MISS', 'evicted')

  await until(() => cache.stats().stores === 3)
  t.equal(await hit(first), 'HIT')
  await cache.clear()
  t.equal(await hit(first), 'MISS', 'cleared')

  await until(() => cache.stats().stores === 4)
  const { headers: before } = await get(front.port, first)
  now += 61_000
  t.equal(await hit(first), 'MISS', 'expired')
  await until(() => cache.stats().stores === 5)
  const { headers: after } = await get(front.port, first)
  t.equal(after['x-cache'], 'HIT')
  t.not(after['x-cache-date'], before['x-cache-date'], 'of the new one')
  t.equal(readdirSync(dir).filter((file) => file.endsWith('.meta')).length, 1)
})

t.test('an entry that changes while it is being copied is not held', async (t) => {
  const small = new SmallEntries(KIB * KIB)
  const name = 'a'.repeat(64)
  const look = small.beginLook(name)
  t.equal((await small.copy(look, entryOf('one'))).body.held?.toString(), 'one')
  small.endLook(look)
  t.equal(small.get(name)?.body.held?.toString(), 'one')

  small.drop(name)
  const late = small.beginLook(name)
  const copying = small.copy(late, entryOf('two'))
  small.drop(name)
  t.equal((await copying).body.held?.toString(), 'two', 'whoever asked before may still have it')
  t.equal(small.get(name), undefined)

  const later = small.beginLook(name)
  await small.copy(late, entryOf('old'))
  t.equal(small.get(name), undefined, 'a look that began before the change does not count')
  await small.copy(later, entryOf('new'))
  t.equal(small.get(name)?.body.held?.toString(), 'new')
})

t.test('an entry that is always being looked for is held all the same', async (t) => {
  const small = new SmallEntries(KIB * KIB)
  const name = 'a'.repeat(64)
  const first = small.beginLook(name)
  const second = small.beginLook(name)
  await small.copy(first, entryOf('one'))
  small.endLook(first)
  t.equal(small.get(name)?.body.held?.toString(), 'one')
  small.drop(name)
  await small.copy(second, entryOf('one'))
  small.endLook(second)
  t.equal(small.get(name), undefined)
})

function entryOf(text: string): StoredEntry {
  const bytes = Buffer.from(text)
  return {
    meta: {
      key: 'blob',
      status: 200,
      reason: 'OK',
      headers: [],
      digest: '',
      size: bytes.length,
      storedAt: 0,
      age: 0,
      epoch: '',
      rule: 'patterns',
      access: '',
      place: 'https://a.test:443/v2/x',
      accept: '',
      others: [],
    },
    body: { read: (into, at) => Promise.resolve(bytes.copy(into, 0, at)), close: () => Promise.resolve() },
    bodyMark: '',
    footprint: 8192,
    lastUsedAt: 0,
  }
}

t.test('a client that does not take what memory has is not waited for either', async (t) => {
  const bytes = 'small'.repeat(40 * KIB)
  const origin = await startHttpOrigin(t, (_request, response) => response.end(bytes))
  const { cache: section } = loadDefaultConfig().config
  const cache = await openCache(
    { ...section, dir: t.testdir(), min_free: 0, rules: [], patterns: ['^/small$'] },
    { logger: silentLogger, now: Date.now },
  )
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { timeouts: { idle: 400 }, cache })
  const url = `http://origin.test:${origin.port}/small`
  for (const expected of ['MISS', 'HIT']) {
    t.match(
      (await proxy.curl('-x', 'http://$PROXY', '-i', url)).body,
      new RegExp(`x-cache: ${expected}`, 'i'),
    )
    await until(() => cache.stats().stores === 1)
  }
  const client = await openRaw(t, proxy.port)
  client.socket.pause()
  // More than the system takes off us.
  for (let asked = 0; asked < 200; asked += 1)
    client.socket.write(`GET ${url} HTTP/1.1\r\nHost: origin.test:${origin.port}\r\n\r\n`)
  await until(() => proxy.server.connections === 1)
  await until(() => proxy.server.connections === 0)
  t.ok(cache.stats().hits > 2)
})
