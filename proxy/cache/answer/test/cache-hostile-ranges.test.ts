import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { startCached, get, until, type Got } from '../../../../test/lab/cache-front.js'
import { startTcpOrigin } from '../../../../test/lab/harness.js'
import { ASKED, HALF, inHttp1, NO_WHOLES, PARTS, RESTS, WHOLE } from './hostile-parts.js'

// Ranges and parts as a hostile upstream answers them: what is kept, and what clients take for the whole, is never a
// part, and no head of ours contradicts the bytes that follow it.

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
    for (const [at, rest] of RESTS.entries()) {
      const { what } = rest
      lie = inHttp1(rest)
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
  let lie = ''
  const { port } = await upstream(t, ({ socket }) => void socket.end(lie === '' ? truth : lie))
  const { front, cache } = await startCached(t, port)
  for (const [at, answer] of NO_WHOLES.entries()) {
    const { what, status } = answer
    for (const [how, headers] of Object.entries({ plain: {}, 'from the start': { range: 'bytes=0-' } })) {
      lie = inHttp1(answer)
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
  for (const [at, part] of PARTS.entries()) {
    lie = inHttp1(part)
    for (const range of ASKED)
      t.equal((await get(front.port, `/plain/part-${at}`, { range })).status, part.status, part.what)
    lie = ''
    t.equal(takenForWhole(await get(front.port, `/plain/part-${at}`)), WHOLE, 'then right')
  }
})
