import { createHash, randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { get, openSlow, startCached, until } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const MIB = 1024 * 1024

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The parts of a `multipart/byteranges` body: what their heads say, and their bytes. */
function partsOf(type: string | undefined, body: Buffer): { head: string; bytes: Buffer }[] {
  const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(type ?? '')?.[1] ?? 'none'
  const parts: { head: string; bytes: Buffer }[] = []
  let rest = Buffer.concat([Buffer.from('\r\n'), body])
  for (;;) {
    const delimiter = `\r\n--${boundary}`
    const start = rest.indexOf(delimiter)
    if (start === -1) throw new Error('a delimiter is missing')
    rest = rest.subarray(start + delimiter.length)
    if (rest.equals(Buffer.from('--\r\n'))) return parts
    const head = rest.indexOf('\r\n\r\n')
    const end = rest.indexOf(delimiter)
    parts.push({ head: rest.subarray(2, head).toString(), bytes: rest.subarray(head + 4, end) })
    rest = rest.subarray(end)
  }
}

/** A fill of 8 MiB that has got half way and waits for `release`. */
async function startHalf(t: Test, query = '') {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache } = await startCached(t, origin.port)
  const blob = origin.addGenerated(32 * MIB)
  const path = `${blob}?stall&ranges${query}`
  const whole = get(front.port, blob.replace('library', 'other'))
  const body = (await whole).body
  await until(() => cache.stats().stores === 1)
  await cache.clear()
  const before = origin.requests.length
  const leader = await openSlow(t, front.port, path)
  const drained = leader.drain()
  await until(() => leader.received() > 16 * MIB - 1)
  return { origin, front, cache, path, body, leader, drained, asked: () => origin.requests.slice(before) }
}

t.test('several ranges of a stored body come as multipart/byteranges, to the byte', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const body = randomBytes(300_000)
  const path = origin.add(body)
  await get(front.port, path)
  const several = await get(front.port, path, { range: 'bytes=0-0, 299000-299999999 ,, 100-199,-5' })
  t.equal(several.status, 206)
  t.equal(several.headers['content-length'], String(several.body.length))
  t.equal(several.headers['content-range'], undefined)
  const parts = partsOf(several.headers['content-type'], several.body)
  t.same(
    parts.map(({ head }) => head.split('\r\n')),
    [
      [0, 0],
      [100, 199],
      [299_000, 299_999],
    ].map(([from, to]) => [
      'Content-Type: application/octet-stream',
      `Content-Range: bytes ${from}-${to}/300000`,
    ]),
    'the last two overlap: they are sent as one, in order of position',
  )
  for (const [at, [from, to]] of [
    [0, 1],
    [100, 200],
    [299_000, 300_000],
  ].entries()) {
    t.ok(parts[at]?.bytes.equals(body.subarray(from, to)))
  }
  const asked = await get(front.port, path, { range: 'bytes=200-299,0-9' })
  t.same(
    partsOf(asked.headers['content-type'], asked.body).map(({ bytes }) => bytes.length),
    [100, 10],
    'in the order asked for',
  )
  const one = await get(front.port, path, { range: 'bytes=0-9,5-19,300000-' })
  t.equal(one.headers['content-range'], 'bytes 0-19/300000', 'one is left: no multipart')
  t.ok(one.body.equals(body.subarray(0, 20)))
  t.equal((await get(front.port, path, { range: 'bytes=300000-,400000-' })).status, 416)
  t.equal((await get(front.port, path, { range: 'bytes=1-2,x' })).status, 200)
  const many = Array.from({ length: 65 }, (_, at) => `${at * 2}-${at * 2}`).join()
  t.equal((await get(front.port, path, { range: `bytes=${many}` })).status, 200, 'too many are ignored')
  const kept = await get(front.port, path, { range: 'bytes=5-9,1-2' }, 'HEAD')
  t.equal(kept.headers['content-length'], '300000', 'HEAD has no ranges')
})

t.test('a body without a length that ends in many pieces comes whole', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  for (const size of [2, 20_000, 40_000]) {
    for (let round = 0; round < 20; round += 1) {
      const body = randomBytes(size)
      const path = `${origin.add(body)}?chunked`
      const answers = await Promise.all(Array.from({ length: 4 }, () => get(front.port, path)))
      // Chunks that come together are sent together, the end with the last of them.
      const wrong = answers.filter((answer) => !answer.body.equals(body))
      t.same(
        wrong.map((answer) => answer.body.length),
        [],
        `${size} bytes, round ${round}`,
      )
    }
  }
})

t.test('parts, heads and conditions are answered from a body that is still coming', async (t) => {
  const { origin, front, path, body, drained, asked } = await startHalf(t, '&header=ETag:"e"')
  t.equal((await get(front.port, path, { 'if-none-match': '"e"' })).status, 304)
  t.equal((await get(front.port, path, { range: `bytes=${64 * MIB}-` })).status, 416)

  const part = await get(front.port, path, { range: 'bytes=1000000-1999999' })
  t.equal(part.status, 206)
  t.equal(part.headers['content-range'], `bytes 1000000-1999999/${32 * MIB}`)
  t.ok(part.body.equals(body.subarray(1_000_000, 2_000_000)), 'what has come is there at once')
  const several = await get(front.port, path, { range: 'bytes=2000000-2000009,5-9', 'if-range': '"e"' })
  t.same(
    partsOf(several.headers['content-type'], several.body).map(({ bytes }) => bytes),
    [body.subarray(2_000_000, 2_000_010), body.subarray(5, 10)],
  )
  t.equal(asked().length, 1)

  const near = get(front.port, path, { range: `bytes=${18 * MIB}-${18 * MIB + 99}` })
  const crossing = get(front.port, path, { range: `bytes=${16 * MIB - 50}-${16 * MIB + 49}` })
  const far = await get(front.port, path, { range: `bytes=${30 * MIB}-${30 * MIB + 99}` })
  t.equal(far.status, 206)
  t.equal(far.headers['x-cache'], undefined)
  t.ok(far.body.equals(body.subarray(30 * MIB, 30 * MIB + 100)), 'far ahead: from upstream, at once')
  t.equal(asked().length, 2)
  origin.release()
  t.ok((await near).body.equals(body.subarray(18 * MIB, 18 * MIB + 100)), 'a little ahead: waited for')
  t.ok((await crossing).body.equals(body.subarray(16 * MIB - 50, 16 * MIB + 50)))
  t.ok((await drained) > 32 * MIB)
  t.equal(asked().length, 2)
  const last = await get(front.port, path, { range: 'bytes=-10' })
  t.equal(last.headers['x-cache'], 'HIT')
  t.ok(last.body.equals(body.subarray(-10)))
})

t.test('of a body of unknown length only parts that have come are given', async (t) => {
  const { origin, front, path, body, drained, asked } = await startHalf(t, '&chunked')
  const part = await get(front.port, path, { range: 'bytes=1000-1999' })
  t.equal(part.headers['content-range'], 'bytes 1000-1999/*')
  t.ok(part.body.equals(body.subarray(1000, 2000)))
  t.equal(asked().length, 1)
  t.equal((await get(front.port, path, { range: 'bytes=1000-' })).headers['x-cache'], undefined)
  t.equal((await get(front.port, path, {}, 'HEAD')).headers['x-cache'], undefined)
  t.equal(asked().length, 3)
  const fromTheEnd = ['bytes=-10', 'bytes=0-5,-10'].map((range) => get(front.port, path, { range }))
  await until(() => asked().length === 5)
  const whole = get(front.port, path, { range: 'bytes=0-' })
  const letGo = setInterval(() => origin.release(), 5)
  for (const { status } of await Promise.all(fromTheEnd)) t.equal(status, 200, 'as upstream answers it')
  clearInterval(letGo)
  t.equal((await whole).status, 200)
  t.equal(sha256((await whole).body), sha256(body))
  t.ok((await drained) > 32 * MIB)
})

t.test('a body that breaks off is gone on with where it broke, and nobody notices', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache } = await startCached(t, origin.port)
  for (const query of ['reset', 'truncate', 'reset&chunked', 'reset&header=ETag:"e"', 'reset&down']) {
    const blob = origin.add(randomBytes(5 * MIB))
    const path = `${blob}?ranges&stall&${query}`
    const readers = [get(front.port, path), get(front.port, path)]
    const letGo = setInterval(() => origin.release(), 5)
    for (const { status, broken, body } of await Promise.all(readers)) {
      t.equal(status, 200, query)
      t.equal(broken, undefined)
      t.equal(sha256(body), blob.slice(-64))
    }
    clearInterval(letGo)
    t.equal((await get(front.port, blob)).headers['x-cache'], 'HIT')
    t.equal(origin.fetches(blob), query.endsWith('down') ? 3 : 2)
  }
  t.equal(cache.stats().errors, 0)

  const plain = '/plain/named'
  t.equal(
    (await get(front.port, `${plain}?ranges&reset&header=ETag:"v1"`)).body.toString(),
    plain,
    'by its tag',
  )
  t.equal(origin.fetches(plain), 2)
})

t.test('where the rest cannot be told to be of the same body, every reader is reset', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache } = await startCached(t, origin.port)
  const blob = origin.add(randomBytes(5 * MIB))
  for (const path of [
    `${blob}?reset`,
    `${blob}?ranges&reset&slip`,
    `${blob}?ranges&reset&wrong`,
    '/plain/unnamed?ranges&reset',
    '/plain/weak?ranges&reset&header=ETag:W/"e"',
  ]) {
    const answer = await get(front.port, path)
    t.ok(answer.broken !== undefined || answer.status === 502, path)
  }
  t.equal(cache.stats().stores, 0)
  t.equal((await get(front.port, blob)).headers['x-cache'], 'MISS')
})

t.test('a fetch that nobody reads goes on, goes on past a share, or ends: as cache.fill says', async (t) => {
  for (const [section, asked, expected] of [
    [{ fill: 'always' }, 1, 'HIT'],
    [{ fill: 'readers' }, 1, 'MISS'],
    [{ fill: 'share', fill_share: 40 }, 4 * MIB - 1, 'HIT'],
    [{ fill: 'share', fill_share: 60 }, 4 * MIB - 1, 'MISS'],
  ] as const) {
    const origin = await MisbehavingOrigin.start(t)
    const { front, cache } = await startCached(t, origin.port, { section })
    const blob = origin.addGenerated(8 * MIB)
    const path = `${blob}?stall`
    const leader = await openSlow(t, front.port, path)
    await leader.readTo(asked)
    const follower = await openSlow(t, front.port, path)
    await follower.readTo(asked)
    leader.leave()
    await front.settled(1)
    follower.leave()
    await front.settled(2)
    const letGo = setInterval(() => origin.release(), 5)
    if (expected === 'HIT') await until(() => cache.stats().stores === 1)
    clearInterval(letGo)
    t.equal((await get(front.port, blob)).headers['x-cache'], expected, JSON.stringify(section))
    t.equal(cache.stats().errors, 0)
  }
})
