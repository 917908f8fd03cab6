import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { startCached, get, until, type Got } from './cache-front.js'
import { startTcpOrigin } from './harness.js'

// Ranges and parts as a hostile upstream answers them: what is kept, and what clients take for the whole, is never a
// part, and no head of ours contradicts the bytes that follow it.

const WHOLE = '0123456789abcdefghij'
const HALF = WHOLE.slice(0, 10)

interface Asked {
  readonly head: string
  readonly socket: Socket
}

interface Upstream {
  readonly port: number
  readonly asked: string[]
}

/** An upstream that answers each request on a connection of its own, as `answer` says. */
async function upstream(t: Test, answer: (asked: Asked) => void): Promise<Upstream> {
  const asked: string[] = []
  const port = await startTcpOrigin(t, (socket) => {
    let head = ''
    socket.on('data', (chunk: Buffer) => {
      head += chunk.toString('latin1')
      if (!head.endsWith('\r\n\r\n')) return
      asked.push(head)
      answer({ head, socket })
      head = ''
    })
    socket.once('end', () => socket.end())
  })
  return { port, asked }
}

const say = (status: string, fields: readonly string[], body: string): string =>
  [`HTTP/1.1 ${status}`, ...fields, 'Connection: close', '', body].join('\r\n')

const truth = say('200 OK', [`Content-Length: ${WHOLE.length}`, 'ETag: "right"'], WHOLE)

/** What a client that knows HTTP holds for the whole. */
const takenForWhole = ({ status, body, broken }: Got): string | undefined =>
  status === 200 && broken === undefined ? body.toString() : undefined

t.test('the rest of a body that broke off is taken only where it is all of it', async (t) => {
  const part = (range: string, body: string, more: readonly string[] = []): string =>
    say(
      '206 Partial Content',
      [`Content-Range: ${range}`, 'ETag: "a"', `Content-Length: ${body.length}`, ...more],
      body,
    )
  const rest = WHOLE.slice(10)
  const rests: readonly (readonly [string, string])[] = [
    ['less than its range says', part('bytes 10-19/20', rest.slice(0, 4))],
    ['more than its range says', part('bytes 10-19/20', `${rest}more`)],
    [
      'ended by its connection',
      say('206 Partial Content', ['Content-Range: bytes 10-19/20', 'ETag: "a"'], 'abc'),
    ],
    ['a range that ends before it begins', part('bytes 10-9/10', '')],
    ['not to the end', part('bytes 10-15/20', rest.slice(0, 6))],
    ['to an end that nobody knows', part('bytes 10-15/*', rest.slice(0, 6))],
    ['from elsewhere', part('bytes 9-19/20', WHOLE.slice(9))],
    ['a negative range', part('bytes -10-19/20', rest)],
    ['a range that is no number', part('bytes x-y/z', rest)],
    ['a range beyond all numbers', part(`bytes 10-${'9'.repeat(400)}/${'9'.repeat(400)}`, rest)],
    ['another unit', part('lines 10-19/20', rest)],
    ['two ranges', part('bytes 10-19/20', rest, ['Content-Range: bytes 0-9/20'])],
    ['no range', say('206 Partial Content', ['ETag: "a"', `Content-Length: ${rest.length}`], rest)],
    ['several parts', part('bytes 10-19/20', rest, ['Content-Type: multipart/byteranges; boundary=x'])],
    ['another version of it', part('bytes 10-19/20', rest).replace('"a"', '"b"')],
    ['no version of it', part('bytes 10-19/20', rest).replace('ETag: "a"\r\n', '')],
    ['a weak version of it', part('bytes 10-19/20', rest).replace('"a"', 'W/"a"')],
    ['an encoding', part('bytes 10-19/20', rest, ['Content-Encoding: gzip'])],
    ['all of it, from the beginning', say('200 OK', ['ETag: "a"', 'Content-Length: 20'], WHOLE)],
    [
      'that there is no such range',
      say('416 Range Not Satisfiable', ['Content-Range: bytes */10', 'Content-Length: 0'], ''),
    ],
    ['that nothing has changed', say('304 Not Modified', ['ETag: "a"'], '')],
  ]
  for (const framing of ['length', 'chunks'] as const) {
    let lie = ''
    const { port } = await upstream(t, ({ head, socket }) => {
      if (lie === '') return void socket.end(truth)
      if (/^range:/im.test(head)) return void socket.end(lie)
      const first = framing === 'length' ? 'Content-Length: 20' : 'Transfer-Encoding: chunked'
      const body = framing === 'length' ? HALF : `a\r\n${HALF}\r\n`
      socket.write(say('200 OK', [first, 'ETag: "a"'], body), () => setImmediate(() => socket.destroy()))
    })
    const { front } = await startCached(t, port)
    for (const [at, [what, text]] of rests.entries()) {
      lie = text
      const path = `/plain/${framing}-${at}`
      const taken = takenForWhole(await get(front.port, path))
      t.ok(taken === undefined || taken === WHOLE, `${framing}: ${what}: ${taken}`)
      lie = ''
      t.equal(takenForWhole(await get(front.port, path)), WHOLE, `${framing}: ${what}: then right`)
    }
  }
})

t.test('a rest is of the same whole each time', async (t) => {
  let times = 0
  const { port } = await upstream(t, ({ head, socket }) => {
    const from = Number(/^range: bytes=(\d+)-/im.exec(head)?.[1] ?? 0)
    times += 1
    // Grows by ten each time it is asked, and breaks off in between.
    const fields = ['ETag: "a"']
    if (from > 0) fields.push(`Content-Range: bytes ${from}-${from + 9 + times}/${from + 10 + times}`)
    const body = `5\r\n${WHOLE.slice(from, from + 5)}\r\n`
    socket.write(
      say(from > 0 ? '206 Partial Content' : '200 OK', [...fields, 'Transfer-Encoding: chunked'], body),
      () => setImmediate(() => socket.destroy()),
    )
  })
  const { front, cache } = await startCached(t, port)
  t.equal(takenForWhole(await get(front.port, '/plain/growing')), undefined)
  t.ok(times <= 3, `given up at the second rest at the latest: asked ${times} times`)
  t.equal(cache.stats().stores, 0)
})

t.test('a range in the head of a whole is not said on', async (t) => {
  const lie = say(
    '200 OK',
    [`Content-Length: ${WHOLE.length}`, 'Content-Range: bytes 0-19/4000', 'ETag: "a"'],
    WHOLE,
  )
  const { port } = await upstream(t, ({ socket }) => void socket.end(lie))
  const { front } = await startCached(t, port)
  const first = await get(front.port, '/plain/x', { range: 'bytes=0-' })
  t.match(first, { status: 206, headers: { 'content-range': 'bytes 0-19/20', 'content-length': '20' } })
  await until(async () => (await get(front.port, '/plain/x')).headers['x-cache'] === 'HIT')
  const second = await get(front.port, '/plain/x')
  t.equal(second.headers['content-range'], undefined)
  t.equal(second.body.toString(), WHOLE)
  t.match(await get(front.port, '/plain/x', { range: 'bytes=5-9' }), {
    status: 206,
    headers: { 'content-range': 'bytes 5-9/20' },
    body: Buffer.from('56789'),
  })
  t.match(await get(front.port, '/plain/x', { range: 'bytes=20-' }), {
    status: 416,
    headers: { 'content-range': 'bytes */20' },
  })
})

t.test('what a 304 says of its time does not make old bytes those of a newer version', async (t) => {
  const old = 'Mon, 01 Jan 2024 00:00:00 GMT'
  const newer = 'Tue, 02 Jan 2024 00:00:00 GMT'
  const clock = { now: Date.parse('2024-02-01T00:00:00Z') }
  const { port } = await upstream(t, ({ head, socket }) => {
    const asksAgain = /^if-modified-since:/im.test(head)
    const fields = [`Last-Modified: ${asksAgain ? newer : old}`, 'Cache-Control: max-age=60']
    socket.end(
      asksAgain
        ? say('304 Not Modified', fields, '')
        : say('200 OK', [...fields, `Content-Length: ${WHOLE.length}`], WHOLE),
    )
  })
  const { front } = await startCached(t, port, {
    now: () => clock.now,
    section: {
      rules: [{ name: 'plain', match: { path: '^/plain/' }, ttl: 'upstream' }] as never,
      patterns: [],
    },
  })
  await get(front.port, '/plain/x')
  await until(async () => (await get(front.port, '/plain/x')).headers['x-cache'] === 'HIT')
  clock.now += 61_000
  t.equal((await get(front.port, '/plain/x')).headers['last-modified'], old)
  // Who has the beginning of the newer one gets no rest of the old one.
  t.equal((await get(front.port, '/plain/x', { range: 'bytes=10-', 'if-range': newer })).status, 200)
  t.equal((await get(front.port, '/plain/x', { range: 'bytes=10-', 'if-range': old })).status, 206)
})

t.test('what is no whole is relayed as what it says it is, and not kept', async (t) => {
  const answers: readonly (readonly [string, number, string])[] = [
    [
      '206 to no range',
      206,
      say('206 Partial Content', ['Content-Range: bytes 0-9/20', 'Content-Length: 10'], HALF),
    ],
    [
      '206 of all of it',
      206,
      say('206 Partial Content', ['Content-Range: bytes 0-19/20', 'Content-Length: 20'], WHOLE),
    ],
    [
      '206 with more than its range',
      206,
      say('206 Partial Content', ['Content-Range: bytes 0-9/20', 'Content-Length: 20'], WHOLE),
    ],
    [
      'parts that overlap',
      206,
      say(
        '206 Partial Content',
        ['Content-Type: multipart/byteranges; boundary=b', 'Content-Length: 10'],
        HALF,
      ),
    ],
    [
      '416 to no range',
      416,
      say('416 Range Not Satisfiable', ['Content-Range: bytes */3', 'Content-Length: 0'], ''),
    ],
    ['304 to no condition', 304, say('304 Not Modified', ['ETag: "a"'], '')],
    [
      '416 of nonsense',
      416,
      say('416 Range Not Satisfiable', ['Content-Range: bytes -1/x', 'Content-Length: 0'], ''),
    ],
  ]
  let lie = ''
  const { port } = await upstream(t, ({ socket }) => void socket.end(lie === '' ? truth : lie))
  const { front, cache } = await startCached(t, port)
  for (const [at, [what, status, text]] of answers.entries()) {
    for (const [how, headers] of Object.entries({ plain: {}, 'from the start': { range: 'bytes=0-' } })) {
      lie = text
      const path = `/plain/${at}-${how.length}`
      t.equal((await get(front.port, path, headers)).status, status, `${what}, ${how}`)
      t.equal((await get(front.port, path, {}, 'HEAD')).status, status, `${what}, ${how}: HEAD`)
      lie = ''
      t.equal(takenForWhole(await get(front.port, path)), WHOLE, `${what}, ${how}: then right`)
    }
  }
  t.ok(cache.stats().errors === 0)
})

t.test('a part asked for comes from upstream as it is, and nothing of it is kept', async (t) => {
  let lie = ''
  const { port } = await upstream(t, ({ socket }) => void socket.end(lie === '' ? truth : lie))
  const { front } = await startCached(t, port)
  for (const [at, [status, text]] of (
    [
      [206, say('206 Partial Content', ['Content-Range: bytes 5-9/20', 'Content-Length: 5'], '56789')],
      [206, say('206 Partial Content', ['Content-Range: bytes 0-19/20', 'Content-Length: 20'], WHOLE)],
      [200, say('200 OK', ['Content-Length: 10', 'Content-Range: bytes 5-14/20'], HALF)],
      [206, say('206 Partial Content', ['Content-Range: bytes 5-9/*', 'Content-Length: 5'], '56789')],
    ] as const
  ).entries()) {
    lie = text
    for (const range of ['bytes=5-9', 'bytes=-5', 'bytes=5-9,7-12', 'bytes=99999999999999999999-'])
      t.equal((await get(front.port, `/plain/part-${at}`, { range })).status, status)
    lie = ''
    t.equal(takenForWhole(await get(front.port, `/plain/part-${at}`)), WHOLE, 'then right')
  }
})
