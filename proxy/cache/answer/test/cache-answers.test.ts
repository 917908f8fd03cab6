import { createHash, randomBytes } from 'node:crypto'
import t from 'tap'
import { isRangeCurrent } from '../../rules/preconditions.js'
import { get, startCached } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const LAST_MODIFIED = 'Wed, 21 Oct 2015 07:28:00 GMT'

t.test('HEAD and ranges are answered from a stored body, to the byte', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const body = randomBytes(300_000)
  const hex = createHash('sha256').update(body).digest('hex')
  const path = origin.add(body)
  await get(front.port, `${path}?header=Docker-Content-Digest:sha256:${hex}&header=ETag:"e"`)

  const plain = `/plain/${hex}`
  await get(front.port, `${plain}?header=ETag:"e"`)
  const head = await get(front.port, `${plain}?header=ETag:"e"`, {}, 'HEAD')
  t.equal(head.status, 200)
  t.equal(head.headers['content-length'], '300000')
  t.equal(head.headers.etag, '"e"')
  t.equal(head.headers['x-cache'], 'HIT')
  t.equal(head.body.length, 0)

  const ranges: [string, number, number][] = [
    ['bytes=0-', 0, 300_000],
    ['bytes=0-0', 0, 1],
    ['bytes=100-199', 100, 200],
    ['bytes=299999-', 299_999, 300_000],
    ['bytes=150000-300000', 150_000, 300_000],
    ['bytes=5-999999999', 5, 300_000],
    ['bytes=-1', 299_999, 300_000],
    ['bytes=-400000', 0, 300_000],
  ]
  for (const [range, from, to] of ranges) {
    const part = await get(front.port, path, { range })
    t.equal(part.status, 206, range)
    t.equal(part.headers['content-range'], `bytes ${from}-${to - 1}/300000`)
    t.equal(part.headers['content-length'], String(to - from))
    t.equal(part.headers['x-cache'], 'HIT')
    t.ok(part.body.equals(body.subarray(from, to)))
  }
  for (const range of ['bytes=300000-', 'bytes=300000-300001', 'bytes=-0']) {
    const none = await get(front.port, path, { range })
    t.equal(none.status, 416, range)
    t.equal(none.headers['content-range'], 'bytes */300000')
    t.equal(none.body.length, 0)
  }
  for (const range of ['bytes=0-1,9-1', 'bytes=9-1', 'lines=1-2', 'bytes=-', 'bytes=a-b']) {
    const whole = await get(front.port, path, { range })
    t.equal(whole.status, 200, range)
    t.ok(whole.body.equals(body))
  }
  t.equal((await get(front.port, path, { range: 'bytes=1-2', 'if-range': '"e"' })).status, 206)
  t.equal((await get(front.port, path, { range: 'bytes=1-2', 'if-range': 'W/"e"' })).status, 200)
  t.equal((await get(front.port, path, { range: 'bytes=1-2', 'if-range': '"other"' })).status, 200)
  t.equal(origin.requests.length, 2)
})

t.test('conditions on a stored body are judged here', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const path = origin.add('content')
  await get(
    front.port,
    `${path}?header=ETag:W/"x"&header=Last-Modified:${LAST_MODIFIED.replaceAll(' ', '+')}`,
  )
  const matching: Record<string, string>[] = [
    { 'if-none-match': '"x"' },
    { 'if-none-match': '"a", W/"x"' },
    { 'if-none-match': '*' },
    { 'if-modified-since': LAST_MODIFIED },
    { 'if-modified-since': 'Thu, 22 Oct 2015 07:28:00 GMT' },
  ]
  for (const headers of matching) {
    const answer = await get(front.port, path, headers)
    t.equal(answer.status, 304, JSON.stringify(headers))
    t.equal(answer.headers.etag, 'W/"x"')
    t.equal(answer.headers['content-length'], undefined)
    t.equal(answer.headers['content-type'], undefined)
  }
  const others: Record<string, string>[] = [
    { 'if-none-match': '"y"' },
    { 'if-none-match': '"y"', 'if-modified-since': LAST_MODIFIED },
    { 'if-modified-since': 'Tue, 20 Oct 2015 07:28:00 GMT' },
    { 'if-modified-since': 'yesterday' },
    { 'if-modified-since': '2030' },
    { 'if-modified-since': 'Thu, 22 Oct 2015 07:28:00 +0000' },
  ]
  for (const headers of others) {
    t.equal((await get(front.port, path, headers)).body.toString(), 'content', JSON.stringify(headers))
  }
  t.equal(origin.requests.length, 1)
})

t.test('If-Range by date holds for what had rested for a second when it was sent', async (t) => {
  const [change, next] = ['Wed, 21 Oct 2015 07:28:00 GMT', 'Wed, 21 Oct 2015 07:28:01 GMT']
  const holds = (condition: string, date: string, modified = change): boolean =>
    isRangeCurrent({ header: () => condition }, ['Last-Modified', modified, 'Date', date])
  t.equal(holds(change, next), true)
  t.equal(holds(change, change), false, 'there may have been another change in that second')
  t.equal(holds(next, next), false)
  t.equal(holds('2015', next, '2015'), false, 'no date of HTTP')
})

t.test('without a stored body, parts, heads and conditions go upstream and nothing is kept', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache } = await startCached(t, origin.port)
  const path = origin.add('content')
  await get(front.port, path, { range: 'bytes=1-2' })
  await get(front.port, path, { range: 'bytes=0-', 'if-range': '"e"' })
  await get(front.port, path, { 'if-none-match': '"e"' })
  await get(front.port, path, { 'cache-control': 'no-store' })
  await get(front.port, path, {}, 'HEAD')
  t.same(
    front.outcomes.map(({ kind }) => kind),
    Array<string>(5).fill('bypass'),
  )
  t.equal(origin.requests.length, 5)
  t.match(cache.stats(), { hits: 0, misses: 0, stores: 0 })
})

t.test('a range of everything fills the cache, and gets the 206 it asked for', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const path = origin.add('content')
  const first = await get(front.port, path, { range: 'bytes=0-' })
  t.equal(first.status, 206)
  t.equal(first.headers['content-range'], 'bytes 0-6/7')
  t.equal(first.headers['x-cache'], 'MISS')
  t.equal(first.body.toString(), 'content')
  t.equal((await get(front.port, path)).headers['x-cache'], 'HIT')
})

t.test('answers that may not be kept are passed on as they are and asked for again', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front, cache } = await startCached(t, origin.port)
  const blob = origin.add('content')
  const cases = [
    `${blob}?header=Cache-Control:private,%20no-store`,
    `${blob}?header=Docker-Content-Digest:sha256:${'0'.repeat(64)}`,
    `${blob}?gzip`,
    `${blob}?partial`,
    `${blob}?status=307`,
    `${blob}?status=401`,
    `${blob}?status=429`,
    '/plain/file?header=Set-Cookie:a=b',
    '/plain/file?header=Cache-Control:private',
    '/plain/file?header=Vary:*',
    '/plain/file?header=Vary:Accept,%20Cookie',
    '/plain/file?header=Vary:Accept-Language',
  ]
  for (const path of cases) {
    const [one, two] = [await get(front.port, path), await get(front.port, path)]
    t.equal(origin.fetches(path), 2, path)
    t.same(one.rawHeaders, two.rawHeaders)
    t.equal(one.headers['x-cache'], undefined)
    t.equal(one.broken, undefined)
  }
  t.ok(front.outcomes.every(({ kind }) => kind === 'relay'))
  const secret = { authorization: 'Basic c2VjcmV0' }
  await get(front.port, '/plain/file', secret)
  t.match(cache.stats(), { hits: 0, misses: 0, stores: 0, errors: 0 })
  await get(front.port, '/v2/library/thing/manifests/latest')
  t.equal(front.outcomes.at(-1)?.kind, 'bypass')
})

t.test('followers of an answer that is not kept ask for themselves', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const path = `${origin.add('content')}?status=401&hold`
  const answers = [get(front.port, path), get(front.port, path), get(front.port, path)]
  await origin.arrived(1)
  const letGo = setInterval(() => origin.release(), 5)
  t.same(
    (await Promise.all(answers)).map(({ status }) => status),
    [401, 401, 401],
  )
  clearInterval(letGo)
  t.same(front.outcomes.map(({ kind }) => kind).sort(), ['bypass', 'bypass', 'relay'])
})

t.test(
  'hosts, hops and signatures share the bytes of a digest, and none of what another has said with them',
  async (t) => {
    const origin = await MisbehavingOrigin.start(t)
    const { front } = await startCached(t, origin.port)
    const blob = origin.add('content')
    const hex = blob.slice(-64)
    const extra = [
      'Set-Cookie:a=b',
      'RateLimit-Remaining:5',
      'Retry-After:9',
      'X-Cache:Hit',
      'Server:s',
      'Age:30',
    ]
    const query = extra.map((header) => `header=${header}`).join('&')
    const storage = `/registry-v2/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`
    const first = await get(front.port, `${storage}?verify=1&${query}`, { host: 'cdn.test' })
    t.equal(first.headers['x-cache'], 'MISS')
    t.equal(first.headers['ratelimit-remaining'], '5')
    for (const path of [blob, storage, `/sha256/${hex.slice(0, 2)}/${hex}?Signature=x`]) {
      const { headers, body } = await get(front.port, path, { host: 'other.test' })
      t.equal(body.toString(), 'content')
      t.equal(headers['x-cache'], 'HIT')
      t.equal(Number(headers.age) < 30, true)
      for (const name of ['set-cookie', 'ratelimit-remaining', 'retry-after', 'server']) {
        t.equal(headers[name], undefined, name)
      }
    }
    t.equal((await get(front.port, storage, { host: 'cdn.test' })).headers['server'], 's', 'but its own')
    t.equal(origin.requests.length, 4, 'each was asked once')
    const manifest = blob.replace('/blobs/', '/manifests/')
    const type = 'header=Docker-Distribution-Api-Version:registry/2.0'
    t.equal(
      (await get(front.port, `${manifest}?${type}`)).headers['x-cache'],
      'MISS',
      'not the blob of its bytes',
    )
    const again = await get(front.port, manifest)
    t.equal(again.headers['x-cache'], 'HIT')
    t.equal(again.headers['docker-content-digest'], `sha256:${hex}`)
  },
)

t.test('a connection kept alive for many answers gathers no listeners', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { front } = await startCached(t, origin.port)
  const path = origin.add('content')
  const { Agent, request } = await import('node:http')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  let warned = ''
  const onWarning = (warning: Error): void => void (warned = warning.message)
  process.on('warning', onWarning)
  for (let count = 0; count < 50; count += 1) {
    await new Promise<void>((resolve, reject) => {
      request({ port: front.port, path, agent }, (answer) => answer.resume().once('end', resolve))
        .once('error', reject)
        .end()
    })
  }
  process.off('warning', onWarning)
  t.equal(warned, '')
})
