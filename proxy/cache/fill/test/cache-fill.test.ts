import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import t from 'tap'
import { get, openSlow, startCached, until } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const MIB = 1024 * 1024

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

t.test('a body is fetched once, then served from the disk with its age and date', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  let now = Date.UTC(2026, 0, 1)
  const { cache, front } = await startCached(t, origin.port, { now: () => now })
  for (const size of [0, 1, 1000, 16 * 1024, 16 * 1024 + 1, 3 * MIB + 17]) {
    const body = randomBytes(size)
    const path = origin.add(body)
    const first = await get(front.port, path)
    t.equal(first.status, 200)
    t.equal(first.headers['x-cache'], 'MISS')
    t.equal(first.headers['x-cache-date'], undefined)
    t.equal(first.headers['content-length'], String(size))
    t.ok(first.body.equals(body), `${size} bytes, fetched`)
    now += 90_000
    const second = await get(front.port, `${path}?signature=another`)
    t.equal(second.headers['x-cache'], 'HIT')
    t.equal(second.headers['x-cache-date'], new Date(now - 90_000).toISOString())
    t.equal(second.headers.age, '90')
    t.equal(second.headers.date, new Date(0).toUTCString())
    t.equal(second.headers['content-length'], String(size))
    t.ok(second.body.equals(body), `${size} bytes, stored`)
    t.equal(origin.fetches(path), 1)
  }
  t.match(cache.stats(), { hits: 6, misses: 6, stores: 6, errors: 0, hit_rate: 0.5 })
})

t.test('twenty readers at once cause one fetch, and all get every byte', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { cache, front } = await startCached(t, origin.port)
  const path = origin.addGenerated(12 * MIB + 5)
  const readers = Array.from({ length: 20 }, () => get(front.port, `${path}?stall`))
  await origin.arrived(1)
  origin.release()
  const letGo = setInterval(() => origin.release(), 5)
  t.teardown(() => clearInterval(letGo))
  const answers = await Promise.all(readers)
  const hex = path.slice(-64)
  t.ok(answers.every(({ body }) => sha256(body) === hex))
  t.equal(answers.filter(({ headers }) => headers['x-cache'] === 'MISS').length, 1)
  t.equal(origin.fetches(), 1)
  t.match(cache.stats(), { hits: 19, misses: 1 })
})

t.test('a follower has the first bytes before the fill is complete', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const path = `${origin.addGenerated(8 * MIB)}?stall`
  const leader = await openSlow(t, front.port, path)
  await leader.readTo(3 * MIB)
  const follower = await openSlow(t, front.port, path)
  await follower.readTo(3 * MIB)
  const late = get(front.port, path)
  origin.release()
  t.equal(sha256((await late).body), path.slice(-70, -6))
  t.ok((await leader.drain()) > 8 * MIB)
  t.ok((await follower.drain()) > 8 * MIB)
  t.equal(origin.fetches(), 1)
})

t.test('the first reader may leave: the fill goes on to its end for the others', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache } = await startCached(t, origin.port)
  const path = `${origin.addGenerated(8 * MIB)}?stall`
  const leader = await openSlow(t, front.port, path)
  await leader.readTo(MIB)
  const follower = await openSlow(t, front.port, path)
  await follower.readTo(MIB)
  leader.leave()
  await front.settled(1)
  t.match(front.outcomes[0], { kind: 'served', cache: 'MISS', status: 200 })
  origin.release()
  t.ok((await follower.drain()) > 8 * MIB)
  const next = await get(front.port, path)
  t.equal(next.headers['x-cache'], 'HIT')
  t.equal(sha256(next.body), path.slice(-70, -6))

  const alone = `${origin.addGenerated(4 * MIB)}?stall`
  const only = await openSlow(t, front.port, alone)
  await only.readTo(MIB)
  only.leave()
  await front.settled(4)
  origin.release()
  t.equal((await get(front.port, alone)).headers['x-cache'], 'HIT', 'also when nobody else is there')
  t.equal(origin.fetches(), 2)
  await until(() => cache.stats().stores === 2)
  t.equal(cache.stats().errors, 0)
})

t.test('a leader that leaves before the head came leaves the fill to the others', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const path = `${origin.add(randomBytes(100_000))}?hold`
  const leader = await openSlow(t, front.port, path)
  await origin.arrived(1)
  const follower = get(front.port, path)
  leader.leave()
  await front.settled(1)
  t.match(front.outcomes[0], { kind: 'served', cache: 'MISS', status: 499, bytes: 0 })
  origin.release()
  t.equal(sha256((await follower).body), path.slice(-69, -5))
  t.equal(origin.fetches(), 1)
})

t.test('a reader that stops reading does not slow the fill, and reads on from the file later', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const path = origin.addGenerated(48 * MIB)
  const slow = await openSlow(t, front.port, path)
  await slow.readTo(1)
  const quick = await get(front.port, path)
  t.equal(sha256(quick.body), path.slice(-64))
  t.ok((await slow.drain()) > 48 * MIB)
  t.equal(origin.fetches(), 1)
})

t.test('what is not whole or not right is never kept, and never looks whole to anybody', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache, dir } = await startCached(t, origin.port)
  const faults = ['truncate', 'reset', 'short', 'wrong', 'truncate&chunked', 'reset&chunked', 'wrong&chunked']
  for (const [at, fault] of faults.entries()) {
    for (const size of [2000, 5 * MIB]) {
      const path = origin.add(randomBytes(size))
      const readers = [get(front.port, `${path}?${fault}&stall`), get(front.port, `${path}?${fault}&stall`)]
      await origin.arrived(origin.requests.length)
      const letGo = setInterval(() => origin.release(), 5)
      const answers = await Promise.all(readers)
      clearInterval(letGo)
      for (const { status, broken, headers, body } of answers) {
        t.ok(status === 502 || broken !== undefined, `${fault}, ${size} bytes: broken off`)
        if (headers['content-length'] !== undefined && status === 200) t.ok(body.length < size)
      }
      const again = await get(front.port, path)
      t.equal(again.headers['x-cache'], 'MISS', 'fetched anew')
      t.equal(sha256(again.body), path.slice(-64))
    }
    t.ok(cache.stats().errors >= 2 * (at + 1))
  }
  await cache.close()
  t.equal((await readdir(dir)).filter((file) => file.endsWith('.tmp')).length, 0)
})

t.test('closing ends fills and readers and leaves no temporary file', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache, dir } = await startCached(t, origin.port)
  const path = `${origin.addGenerated(8 * MIB)}?stall`
  const reader = get(front.port, path)
  await origin.arrived(1)
  const slow = await openSlow(t, front.port, path)
  await slow.readTo(MIB)
  await cache.close()
  t.ok((await reader).broken)
  t.same(await readdir(dir), ['lock'])
  t.match(front.outcomes[0], { kind: 'threw', error: { code: 'BODY_ABORTED' } })
})

t.test('what is larger than the whole cache reaches its readers and is not kept', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache, dir } = await startCached(t, origin.port, { maxSize: 4 * MIB })
  const path = origin.addGenerated(24 * MIB)
  t.equal(sha256((await get(front.port, path)).body), path.slice(-64), 'announced: relayed')
  t.match(front.outcomes[0], { kind: 'relay' })
  const first = await openSlow(t, front.port, `${path}?chunked`)
  await first.readTo(1)
  const other = get(front.port, `${path}?chunked`)
  t.ok((await first.drain()) > 24 * MIB, 'not announced: from memory, at the pace of its slowest reader')
  t.equal(sha256((await other).body), path.slice(-64))
  await cache.close()
  t.same(await readdir(dir), ['lock'])
  t.match(cache.stats(), { stores: 0, errors: 0, current_size: 0 })
})
