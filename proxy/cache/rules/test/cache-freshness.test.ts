import type { IncomingMessage, ServerResponse } from 'node:http'
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { cacheControl } from '../../entry/cache-control.js'
import { httpDate } from '../../entry/http-date.js'
import { get, startCached, until, type FrontOptions } from '../../../../test/lab/cache-front.js'
import { startHttpOrigin } from '../../../../test/lab/harness.js'

// The promise: where a rule leaves it to upstream how long answers hold, the cache does as RFC 9111 says, and
// whatever the rule, what a request has changed is not served from before.

const SECOND = 1000

/** A cache whose entries hold as long as upstream says, on a clock of its own. */
async function start(t: Test, section: FrontOptions['section'] = {}) {
  const clock = { now: Date.UTC(2026, 0, 1) }
  const asked: string[] = []
  let listener: (request: IncomingMessage, response: ServerResponse) => void = () => undefined
  const origin = await startHttpOrigin(t, (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers['if-none-match'] ?? ''}`.trim())
    response.setHeader('Date', new Date(clock.now).toUTCString())
    listener(request, response)
  })
  const { front, cache } = await startCached(t, origin.port, {
    now: () => clock.now,
    section: { ttl: 'upstream', ...section },
  })
  return {
    asked,
    cache,
    clock,
    front,
    /** What the origin does from now on. */
    answers: (next: typeof listener) => void (listener = next),
    /** `HIT body`, or what there is of it. */
    async ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<string> {
      const answer = await get(front.port, path, { host: 'a.test', ...headers }, method)
      return `${String(answer.headers['x-cache'] ?? answer.status)} ${answer.body.toString()}`
    },
  }
}

/** Says what it is told to of freshness, and knows its own tag. */
function tagged(tag: string, head: Record<string, string>) {
  return (request: IncomingMessage, response: ServerResponse): void => {
    const same = request.headers['if-none-match'] === tag
    response.writeHead(same ? 304 : 200, { ETag: tag, ...head }).end(same ? undefined : tag)
  }
}

t.test('an entry is served for as long as upstream says, then asked about', async (t) => {
  const { asked, clock, answers, ask } = await start(t)
  const expires = new Date(clock.now + 60 * SECOND).toUTCString()
  for (const [name, head] of [
    ['max-age', { 'Cache-Control': 'max-age=60' }],
    ['s-maxage', { 'Cache-Control': 'max-age=9, s-maxage="60", x="max-age=5"' }],
    ['age', { 'Cache-Control': 'max-age=100', Age: '40' }],
    ['expires', { Expires: expires }],
    ['older', { 'Cache-Control': 'max-age=90', Date: new Date(clock.now - 30 * SECOND).toUTCString() }],
  ] as const) {
    const path = `/plain/${name}`
    const before = clock.now
    answers(tagged('"a"', head))
    t.equal(await ask(path), 'MISS "a"', name)
    clock.now += 59 * SECOND
    t.equal(await ask(path), 'HIT "a"', name)
    t.equal(asked.length, 1, name)
    clock.now += SECOND
    t.equal(await ask(path), 'HIT "a"', 'it still holds')
    t.same(asked.splice(0), [`GET ${path}`, `GET ${path} "a"`], name)
    clock.now = before
  }
})

t.test(
  'what is stale as it comes is asked about every time, and kept only where that can be asked',
  async (t) => {
    const { asked, answers, ask, cache } = await start(t)
    for (const control of [
      'no-cache',
      'no-cache="x", max-age=60',
      'max-age=0',
      'max-age=-5',
      'max-age=60, s-maxage=0',
    ]) {
      const path = `/plain/${encodeURIComponent(control)}`
      answers(tagged('"a"', { 'Cache-Control': control }))
      await ask(path)
      t.equal(await ask(path), 'HIT "a"', control)
      answers(tagged('"b"', { 'Cache-Control': control }))
      t.equal(await ask(path), 'MISS "b"', control)
      t.same(asked.splice(0), [`GET ${path}`, `GET ${path} "a"`, `GET ${path} "a"`])
    }
    const stores = 10
    await until(() => cache.stats().stores === stores)
    for (const head of [
      {},
      { 'Cache-Control': 'max-age=0' },
      { Expires: '0' },
      { 'Cache-Control': 'max-age=60', Age: '1, 2' },
    ]) {
      answers((_request, response) => response.writeHead(200, head).end('body'))
      t.equal(await ask('/plain/no-validator'), '200 body')
    }
    t.equal(cache.stats().stores, stores, 'nothing kept in vain')
  },
)

t.test('one who comes while an answer that is stale at once is on its way gets one of its own', async (t) => {
  const { asked, answers, ask } = await start(t)
  const held: ServerResponse[] = []
  answers((_request, response) => {
    response.writeHead(200, { ETag: `"${asked.length}"`, 'Cache-Control': 'no-cache' }).write('part')
    held.push(response)
  })
  const first = ask('/plain/x')
  await until(() => held.length === 1)
  const second = ask('/plain/x')
  await until(() => held.length === 2)
  for (const response of held) response.end()
  t.same(await Promise.all([first, second]), ['MISS part', '200 part'])
})

t.test('a digest holds for ever, whatever is said of freshness', async (t) => {
  const { asked, clock, answers, ask } = await start(t)
  answers((_request, response) => response.writeHead(200, { 'Cache-Control': 'max-age=0' }).end('content'))
  const path = `/v2/x/blobs/sha256:${createHash('sha256').update('content').digest('hex')}`
  t.equal(await ask(path), 'MISS content')
  clock.now += 1e9
  t.equal(await ask(path), 'HIT content')
  await ask(path, {}, 'DELETE')
  t.equal(await ask(path), 'HIT content', 'and no request changes what it names')
  t.equal(asked.length, 2)
})

t.test('stale answers stand in for an upstream that fails, unless their sender forbids it', async (t) => {
  for (const ttl of ['upstream', 60 * SECOND] as const) {
    const { clock, answers, ask } = await start(t, { ttl })
    for (const [control, expected] of [
      ['max-age=60', 'HIT body'],
      ['max-age=60, must-revalidate', '503 down'],
      ['max-age=60, proxy-revalidate', '503 down'],
      ['s-maxage=60', '503 down'],
      // Still fresh as far as upstream is concerned; the rule's own time is what ran out.
      ...(ttl === 'upstream' ? [] : [['max-age=3600, must-revalidate', 'HIT body'] as const]),
    ] as const) {
      const path = `/plain/${encodeURIComponent(control)}`
      answers((_request, response) => response.writeHead(200, { 'Cache-Control': control }).end('body'))
      await ask(path)
      clock.now += 61 * SECOND
      answers((_request, response) => response.writeHead(503).end('down'))
      t.equal(await ask(path), expected, `${ttl}: ${control}`)
      // What has just failed is not asked again for a while.
      clock.now += 11 * SECOND
    }
  }
})

t.test('only-if-cached does not get what would have to be asked about', async (t) => {
  const { clock, answers, ask, front } = await start(t)
  answers(tagged('"a"', { 'Cache-Control': 'max-age=60' }))
  const only = { 'cache-control': 'only-if-cached' }
  await ask('/plain/x')
  t.equal(await ask('/plain/x', only), 'HIT "a"')
  clock.now += 60 * SECOND
  await ask('/plain/x', only)
  t.match(front.outcomes.at(-1), { kind: 'threw', error: { code: 'NOT_STORED' } })
})

t.test('a 304 brings the head up to date, but for what it cannot say', async (t) => {
  const { clock, answers, ask, front } = await start(t)
  answers((_request, response) =>
    response
      .writeHead(200, {
        ETag: '"a"',
        'Cache-Control': 'max-age=60',
        'Content-Type': 'text/plain',
        X: '1',
        Y: '1',
      })
      .end('body'),
  )
  await ask('/plain/x')
  clock.now += 60 * SECOND
  answers((_request, response) =>
    response
      .writeHead(304, {
        ETag: '"b"',
        'Content-Type': 'text/html',
        'Content-Encoding': 'gzip',
        'Content-MD5': 'x',
        X: '2',
      })
      .end(),
  )
  const { headers, body } = await get(front.port, '/plain/x', { host: 'a.test' })
  t.match(headers, { etag: '"a"', 'content-type': 'text/html', x: '2', y: '1', 'content-length': '4' })
  t.equal(headers['content-encoding'], undefined)
  t.equal(headers['content-md5'], undefined)
  t.equal(body.toString(), 'body')
})

t.test('a 304 that forbids keeping is the last use of an entry', async (t) => {
  for (const [name, value] of [
    ['Cache-Control', 'no-store'],
    ['Cache-Control', 'private'],
    ['Vary', 'Cookie'],
  ] as const) {
    const { asked, clock, answers, ask, cache } = await start(t)
    answers(tagged('"a"', { 'Cache-Control': 'max-age=60' }))
    await ask('/plain/x')
    clock.now += 60 * SECOND
    answers(tagged('"a"', { 'Cache-Control': 'max-age=60', [name]: value }))
    t.equal(await ask('/plain/x'), 'HIT "a"')
    t.equal(await ask('/plain/x'), '200 "a"', `${name}: ${value}`)
    t.equal(asked.at(-1), 'GET /plain/x', 'there is nothing to ask about')
    t.equal(cache.stats().current_size, 0)
  }
})

t.test('what a request has changed is fetched anew, whatever the rule', async (t) => {
  for (const ttl of ['upstream', 0] as const) {
    const { answers, ask } = await start(t, { ttl })
    const kept = ['/plain/x?q=1', '/plain/x?q=2', '/plain/named', '/plain/created']
    const keep = async (): Promise<void> => {
      answers((_request, response) => response.writeHead(200, { 'Cache-Control': 'max-age=60' }).end('body'))
      for (const path of kept) await ask(path)
      for (const path of kept) t.equal(await ask(path), 'HIT body')
    }
    const change = async (status: number, head: Record<string, string>, method = 'POST'): Promise<void> => {
      await keep()
      answers((_request, response) => response.writeHead(status, head).end())
      await ask('/plain/x?q=1', { 'content-length': '0' }, method)
      answers((_request, response) => response.writeHead(200, { 'Cache-Control': 'max-age=60' }).end('new'))
    }
    const stored = async (): Promise<string[]> => {
      const states = await Promise.all(kept.map(async (path) => [path, await ask(path)] as const))
      return states.filter(([, state]) => state === 'HIT body').map(([path]) => path)
    }
    const [own, other, named, created] = kept
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'M-SEARCH']) {
      await change(204, {}, method)
      t.same(await stored(), [other, named, created], method)
      await ask('/plain/x?q=2', {}, 'DELETE')
      for (const path of kept) await ask(path, { 'content-length': '0' }, 'DELETE')
    }
    await change(201, { Location: '/plain/created', 'Content-Location': 'named' })
    t.same(await stored(), [other])
    for (const path of kept) await ask(path, {}, 'DELETE')
    await change(500, { Location: '/plain/created' })
    t.same(await stored(), kept, 'a failure has changed nothing')
    await change(201, { Location: 'http://elsewhere.test/plain/created', 'Content-Location': 'http://[' })
    t.same(await stored(), [other, named, created], 'of another host nothing is believed')
    for (const path of kept) await ask(path, {}, 'DELETE')
    await change(200, {}, 'OPTIONS')
    t.same(await stored(), kept)
    t.ok(own)
  }
})

t.test('a host whose name URLs do not know is heeded too', async (t) => {
  const { answers, ask } = await start(t, { ttl: 0 })
  const there = { host: 'xn--a' }
  answers((_request, response) => response.writeHead(200, { Location: '/plain/y' }).end('body'))
  await ask('/plain/x', there)
  t.equal(await ask('/plain/x', there), 'HIT body')
  await ask('/plain/x', there, 'DELETE')
  t.equal(await ask('/plain/x', there), 'MISS body')
})

t.test('a body that was on its way when it was changed goes to those who wait, and no further', async (t) => {
  const { answers, ask, cache } = await start(t, { ttl: 0 })
  const held: ServerResponse[] = []
  answers((request, response) => {
    if (request.method === 'POST') return void response.end()
    response.writeHead(200, { 'Content-Length': '7' }).write('old')
    held.push(response)
  })
  const before = [ask('/plain/x'), ask('/plain/x')]
  await until(() => held.length === 1)
  await ask('/plain/x', {}, 'POST')
  const after = ask('/plain/x')
  await until(() => held.length === 2)
  for (const response of held) response.end(' one')
  t.same((await Promise.all(before)).sort(), ['HIT old one', 'MISS old one'], 'whichever came first')
  t.equal(await after, 'MISS old one', 'asked for after the change')
  await until(() => cache.stats().stores === 1)
})

t.test('Cache-Control and dates are read as they are written', async (t) => {
  const control = cacheControl(
    `PRIVATE="a, b", max-age="7", x="no-store, max-age=5", s-maxage='9', max-age=8`,
  )
  t.ok(control.has('private'))
  t.notOk(control.has('no-store'))
  t.equal(control.seconds('max-age'), 7)
  t.equal(control.seconds('s-maxage'), 0)
  t.equal(control.seconds('stale-if-error'), undefined)
  t.equal(cacheControl('max-age=99999999999').seconds('max-age'), 2 ** 31)
  t.ok(cacheControl('ext="open, no-store').has('no-store'), 'a quote that never ends hides nothing')
  const time = Date.UTC(1994, 10, 6, 8, 49, 37)
  for (const text of [
    'Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994',
  ]) {
    t.equal(httpDate(text), time, text)
  }
  for (const text of [
    '0',
    '-1',
    '1994',
    'Sun, 06 Nov 1994 08:49:37 +0100',
    'Sun, 06 Nov 1994 08:49:37',
    '',
    'never',
  ]) {
    t.equal(httpDate(text), undefined, text)
  }
})
