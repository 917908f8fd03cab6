import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  get,
  openTestCache,
  startFront,
  until,
  type FrontOptions,
  type Got,
} from '../../../../test/lab/cache-front.js'
import { startRecorded } from '../../../../test/lab/origins/recording-origin.js'

// The promise: a digest proves bytes. What a host says with them, that it has them, and who may see them, is its own
// to say, whoever they came from first.

const LAYER = Buffer.from('layer '.repeat(2000))
const CONFIG = Buffer.from('{"architecture":"amd64"}')
const TYPE = 'application/vnd.oci.image.manifest.v1+json'
const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const MANIFEST = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: TYPE,
    config: { digest: digestOf(CONFIG) },
    layers: [{ digest: digestOf(LAYER) }],
  }),
)
const BODIES = new Map([LAYER, CONFIG, MANIFEST].map((body) => [digestOf(body), body]))
const BLOB = `/v2/team/app/blobs/${digestOf(LAYER)}`
const DOCUMENT = `/v2/team/app/manifests/${digestOf(MANIFEST)}`

/** What a host says to all it is asked: further headers, or a status. */
type Says = Record<string, Record<string, string> | number>

/** The hosts of `says` have everything; any other has nothing. */
async function start(t: Test, says: Says, options: FrontOptions = {}) {
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const digest = `sha256:${/[0-9a-f]{64}/.exec(request.url ?? '')?.[0] ?? ''}`
    // The front does not send its client's host on, so what is asked says it in its query.
    const said = says[new URL(request.url ?? '', 'http://o').searchParams.get('at') ?? ''] ?? 404
    const body = BODIES.get(digest)
    if (typeof said === 'number' || body === undefined) {
      response.writeHead(typeof said === 'number' ? said : 404, { Location: '/elsewhere' }).end()
      return
    }
    const part = /^bytes=0-0$/.test(request.headers.range ?? '')
    response.writeHead(part ? 206 : 200, {
      ...(part ? { 'Content-Range': `bytes 0-0/${body.length}` } : {}),
      'Content-Length': part ? 1 : body.length,
      ...said,
    })
    response.end(request.method === 'HEAD' ? undefined : part ? body.subarray(0, 1) : body)
  }
  const started = await startRecorded(t, answer, options)
  const at = (host: string, path: string, headers = {}, method = 'GET'): Promise<Got> =>
    get(started.front.port, `${path}?at=${host}`, { host, ...headers }, method)
  return { ...started, at }
}

/** How much a line asks for. */
const bodies = (lines: readonly string[]): number => lines.filter((line) => line.startsWith('GET')).length

t.test('each registry keeps its own words for a manifest, and the bytes come once', async (t) => {
  const strange = {
    'Content-Type': 'text/html',
    'Docker-Content-Digest': `sha512:${'a'.repeat(128)}`,
    'Content-Disposition': 'attachment',
    'Content-Language': 'eo',
    ETag: '"strange"',
    'Last-Modified': 'Wed, 21 Oct 2015 07:28:00 GMT',
    'X-Extension': 'strange',
  }
  const { at, asked, lines, cache } = await start(t, {
    'strange.test': strange,
    'good.test': { 'Content-Type': TYPE, ETag: '"good"', 'X-Extension': 'good' },
  })
  t.equal((await at('strange.test', DOCUMENT)).headers['x-cache'], 'MISS')
  await until(() => cache.stats().stores === 1)
  for (let round = 0; round < 2; round += 1) {
    const { headers, body } = await at('good.test', DOCUMENT)
    t.ok(body.equals(MANIFEST))
    t.match(headers, { 'x-cache': 'HIT', 'content-type': TYPE, etag: '"good"', 'x-extension': 'good' })
    t.equal(headers['docker-content-digest'], digestOf(MANIFEST))
    for (const name of ['content-disposition', 'content-language', 'last-modified'])
      t.equal(headers[name], undefined, name)
  }
  t.match(
    lines(),
    [`GET ${DOCUMENT}?at=strange.test`, `HEAD ${DOCUMENT}?at=good.test`],
    'asked once, by HEAD',
  )
  const again = await at('strange.test', DOCUMENT)
  t.match(again.headers, { 'x-cache': 'HIT', etag: '"strange"', 'x-extension': 'strange' })
  t.equal(asked.length, 2)
  // The condition is judged by the words of the place.
  t.equal((await at('good.test', DOCUMENT, { 'if-none-match': '"good"' })).status, 304)
  t.equal((await at('good.test', DOCUMENT, { 'if-none-match': '"strange"' })).status, 200)
})

t.test('what the places have said holds after a restart', async (t) => {
  const { at, dir, cache, asked, port, front } = await start(t, {
    'one.test': { ETag: '"one"' },
    'two.test': { ETag: '"two"' },
  })
  await at('one.test', BLOB)
  await until(() => cache.stats().stores === 1)
  t.equal((await at('two.test', BLOB)).headers.etag, '"two"')
  await cache.close()
  await front.close()
  const next = await openTestCache(dir)
  const again = await startFront(next, port)
  t.teardown(async () => {
    await next.close()
    await again.close()
  })
  for (const name of ['one', 'two']) {
    const { headers } = await get(again.port, `${BLOB}?at=${name}.test`, { host: `${name}.test` })
    t.match(headers, { 'x-cache': 'HIT', etag: `"${name}"` })
  }
  t.equal(asked.length, 2)
})

t.test('a place that has not said that it has a body is asked, and its no is passed on', async (t) => {
  const { at, cache, lines } = await start(t, { 'one.test': {}, 'shy.test': 401, 'busy.test': 503 })
  await at('one.test', BLOB)
  await at('one.test', DOCUMENT)
  await until(() => cache.stats().stores === 2)
  for (const path of [BLOB, DOCUMENT, `/sha256/${digestOf(LAYER).slice(7, 9)}/${digestOf(LAYER).slice(7)}`]) {
    for (const [host, status] of [
      ['none.test', 404],
      ['shy.test', 401],
      ['busy.test', 503],
    ] as const) {
      t.equal((await at(host, path)).status, status, `${host} ${path}`)
      t.equal((await at(host, path, {}, 'HEAD')).status, status)
    }
  }
  const other = BLOB.replace('team', 'other')
  await at('one.test', other)
  t.ok(lines().includes(`HEAD ${other}?at=one.test`), 'another repository of the same registry too')
  t.equal((await at('one.test', BLOB)).headers['x-cache'], 'HIT')
})

t.test('a redirect is passed on, for where it leads may have nothing', async (t) => {
  const { at, cache } = await start(t, { 'one.test': {}, 'sends.test': 307 })
  await at('one.test', BLOB)
  await until(() => cache.stats().stores === 1)
  const { status, headers } = await at('sends.test', BLOB)
  t.equal(status, 307)
  t.equal(headers.location, '/elsewhere')
})

t.test(
  'HEAD of a blob or manifest is always the registry’s to answer, whatever it said before',
  async (t) => {
    const says: Says = { 'one.test': { ETag: '"x"' } }
    const { at, cache, lines } = await start(t, says)
    await at('one.test', BLOB)
    await at('one.test', DOCUMENT)
    await until(() => cache.stats().stores === 2)
    for (const path of [BLOB, DOCUMENT]) {
      t.match(await at('one.test', path, {}, 'HEAD'), { status: 200, headers: { 'x-cache': undefined } })
    }
    says['one.test'] = 404
    for (const path of [BLOB, DOCUMENT]) {
      t.equal((await at('one.test', path, {}, 'HEAD')).status, 404, 'it has removed it since')
    }
    t.equal(lines().filter((line) => line.startsWith('HEAD')).length, 4)
  },
)

t.test('a repository that gave out a manifest need not be asked for the blobs it names', async (t) => {
  const { at, cache, lines } = await start(t, { 'one.test': {}, 'two.test': { 'Content-Type': TYPE } })
  await at('one.test', BLOB)
  await at('one.test', DOCUMENT)
  await until(() => cache.stats().stores === 2)
  const before = lines().length
  t.equal((await at('two.test', DOCUMENT)).headers['content-type'], TYPE)
  const { headers, body } = await at('two.test', BLOB)
  t.ok(body.equals(LAYER))
  t.match(headers, {
    'x-cache': 'HIT',
    'content-type': 'application/octet-stream',
    'docker-content-digest': digestOf(LAYER),
  })
  t.same(lines().slice(before), [`HEAD ${DOCUMENT}?at=two.test`])
  // Not for another repository, and not for who asks whether it is there.
  await at('two.test', BLOB.replace('team', 'other'))
  await at('two.test', BLOB, {}, 'HEAD')
  t.equal(lines().length, before + 3)
})

t.test('in a network of storage one byte is asked for: its addresses are signed for GET alone', async (t) => {
  const { at, asked, cache } = await start(t, { 'one.test': {}, 'cdn.test': { ETag: '"cdn"' } })
  await at('one.test', BLOB)
  await until(() => cache.stats().stores === 1)
  const hex = digestOf(LAYER).slice('sha256:'.length)
  const { headers, body } = await at('cdn.test', `/sha256/${hex.slice(0, 2)}/${hex}`)
  t.ok(body.equals(LAYER))
  t.match(headers, { 'x-cache': 'HIT', etag: '"cdn"', 'content-length': String(LAYER.length) })
  t.equal(headers['content-range'], undefined)
  t.equal(asked.at(-1)?.headers.range, 'bytes=0-0')
})

t.test('two who come at once ask once', async (t) => {
  const { at, lines, cache } = await start(t, { 'one.test': {}, 'two.test': {} })
  await at('one.test', BLOB)
  await until(() => cache.stats().stores === 1)
  const answers = await Promise.all([at('two.test', BLOB), at('two.test', BLOB), at('two.test', BLOB)])
  t.ok(answers.every(({ headers, body }) => headers['x-cache'] === 'HIT' && body.equals(LAYER)))
  t.equal(lines().length, 2)
})

t.test('a place that has something else of that name is left to answer itself', async (t) => {
  const { at, cache } = await start(t, {
    'one.test': {},
    'wrong.test': { 'Docker-Content-Digest': `sha256:${'0'.repeat(64)}` },
    'short.test': { 'Content-Length': '3' },
    'secret.test': { 'Cache-Control': 'no-store' },
  })
  await at('one.test', DOCUMENT)
  await until(() => cache.stats().stores === 1)
  for (const host of ['wrong.test', 'short.test', 'secret.test'])
    t.equal((await at(host, DOCUMENT)).headers['x-cache'], undefined, host)
})

t.test('under revalidate, another host gets a private body given out only by sending it', async (t) => {
  const private_ = { authorization: 'Bearer mine' }
  const { at, cache, lines } = await start(
    t,
    { 'mine.test': {}, 'evil.test': {} },
    { section: { authorization: 'revalidate' } },
  )
  await at('mine.test', BLOB, private_)
  await until(() => cache.stats().stores === 1)
  // Anybody's server can say yes to HEAD.
  const { headers } = await at('evil.test', BLOB)
  t.equal(headers['x-cache'], 'MISS', 'it had to send it itself')
  t.equal(bodies(lines()), 2)
  await until(() => cache.stats().stores === 2)
  t.equal(
    (await at('mine.test', BLOB, private_)).headers['x-cache'],
    'HIT',
    'the words of the first are kept',
  )
})

t.test('offline nobody can be asked, and the bytes are what the URL names', async (t) => {
  const { dir, cache, front, at, port } = await start(t, { 'one.test': {} })
  await at('one.test', DOCUMENT)
  await until(() => cache.stats().stores === 1)
  await cache.close()
  await front.close()
  const next = await openTestCache(dir, { section: { offline: true } })
  const again = await startFront(next, port)
  t.teardown(async () => {
    await next.close()
    await again.close()
  })
  const { status, headers, body } = await get(again.port, DOCUMENT, { host: 'two.test' })
  t.equal(status, 200)
  t.equal(headers['content-type'], TYPE, 'as the document says')
  t.ok(body.equals(MANIFEST))
  t.equal((await get(again.port, DOCUMENT, { host: 'two.test' }, 'HEAD')).status, 200)
})

t.test('an entry that an earlier version made keeps its bytes and says nothing', async (t) => {
  const { dir, cache, front, at, port, lines } = await start(t, {
    'one.test': { ETag: '"old"' },
  })
  await at('one.test', DOCUMENT)
  await get(front.port, '/plain/x?at=one.test', { host: 'one.test' })
  await until(() => cache.stats().stores === 1)
  await cache.close()
  await front.close()
  for (const file of readdirSync(dir).filter((name) => name.endsWith('.meta'))) {
    const {
      place: _p,
      accept: _a,
      others: _o,
      ...meta
    } = JSON.parse(readFileSync(join(dir, file), 'utf8')) as Record<string, unknown>
    writeFileSync(join(dir, file), JSON.stringify({ ...meta, version: 1 }))
  }
  const next = await openTestCache(dir)
  const again = await startFront(next, port)
  t.teardown(async () => {
    await next.close()
    await again.close()
  })
  const before = lines().length
  const { headers, body } = await get(again.port, `${DOCUMENT}?at=one.test`, { host: 'one.test' })
  t.match(headers, { 'x-cache': 'HIT', etag: '"old"' })
  t.ok(body.equals(MANIFEST))
  t.same(lines().slice(before), [`HEAD ${DOCUMENT}?at=one.test`])
})

t.test('no Vary matters to bytes that a digest fixes', async (t) => {
  for (const vary of ['Origin, Access-Control-Request-Headers', '*', 'User-Agent', 'Cookie']) {
    const { at, lines } = await start(t, { 'one.test': { Vary: vary } })
    for (const headers of [{}, { origin: 'https://a.test' }, { 'user-agent': 'other' }])
      t.ok((await at('one.test', BLOB, headers)).body.equals(LAYER))
    t.equal(bodies(lines()), 1, vary)
  }
})
