import { createHash } from 'node:crypto'
import t from 'tap'
import { get, openTestCache, until } from '../../../../test/lab/cache-front.js'
import { startProxy } from '../../../../test/lab/harness.js'
import { proxiedGet } from '../../../../test/lab/proxied-get.js'
import { startRecorded, startRecordingOrigin } from '../../../../test/lab/origins/recording-origin.js'

// The promise: what is kept for everybody was asked for in words that do not depend on who asked first.

const HEX = createHash('sha256').update('content').digest('hex')
const BLOB = `/v2/a/blobs/sha256:${HEX}`

/** Frameworks and gateways heed these, each of which makes a request another one. */
const TELLING: readonly (readonly [string, string])[] = [
  ['X-Original-URL', '/admin'],
  ['X-Rewrite-URL', '/admin'],
  ['X-Forwarded-Host', 'evil.test'],
  ['X-Forwarded-Proto', 'http'],
  ['X-Host', 'evil.test'],
  ['X-HTTP-Method-Override', 'DELETE'],
  ['X-HTTP-Method', 'HEAD'],
  ['Origin', 'https://evil.test'],
  ['Private-Token', 'secret'],
  ['X-Never-Heard-Of', 'anything'],
]

t.test('a request that may mean something else is neither kept nor answered from what is', async (t) => {
  const { front, cache, asked } = await startRecorded(t, (request, response) => {
    const names = TELLING.map(([name]) => name.toLowerCase())
    const special = names.find((name) => request.headers[name] !== undefined)
    response.end(special === undefined ? 'plain' : `special for ${special}`)
  })
  for (const [name, value] of TELLING) {
    const { headers, body } = await get(front.port, '/plain/x', { [name]: value })
    t.equal(headers['x-cache'], undefined, name)
    t.equal(body.toString(), `special for ${name.toLowerCase()}`)
    t.equal(asked.at(-1)?.headers[name.toLowerCase()], value, 'upstream has it from the client itself')
  }
  t.equal((await get(front.port, '/plain/x')).body.toString(), 'plain')
  await until(() => cache.stats().stores === 1)
  t.equal((await get(front.port, '/plain/x', { 'X-Original-URL': '/admin' })).headers['x-cache'], undefined)
  t.equal((await get(front.port, '/plain/x')).headers['x-cache'], 'HIT')
})

t.test('of a digest they are left out, and where upstream then refuses, they are tried', async (t) => {
  const { front, asked, cache } = await startRecorded(t, (request, response) => {
    const needed = request.url?.includes('needed') === true
    response.writeHead(needed && request.headers['private-token'] === undefined ? 404 : 200).end('content')
  })
  for (const [name, value] of TELLING) {
    t.equal((await get(front.port, BLOB, { [name]: value })).body.toString(), 'content')
    await until(() => cache.stats().stores === 1)
  }
  t.equal(asked.length, 1)
  const headers = asked[0]?.headers ?? {}
  t.same(
    TELLING.filter(([name]) => headers[name.toLowerCase()] !== undefined),
    [],
  )
  await cache.clear()
  const { status } = await get(front.port, `${BLOB}?needed`, { 'Private-Token': 'secret' })
  t.equal(status, 200)
})

t.test('what clients say about themselves stays behind and keeps nobody from a hit', async (t) => {
  const { front, asked, cache } = await startRecorded(t, (_request, response) => void response.end('package'))
  const said = {
    'Npm-Command': 'ci',
    'Pacote-Pkg-Id': 'registry:x@1',
    Traceparent: '00-1-2-01',
    'Accept-Language': 'eo',
    Referer: 'install x',
    'X-Forwarded-For': '10.0.0.1',
    'X-Gemfile-Source': 'https://user:password@gems.test',
    'Sec-Fetch-Mode': 'cors',
    'Cargo-Protocol': 'version=1',
    'Content-Type': 'application/json',
  }
  const sent = { 'User-Agent': 'client/1', Accept: '*/*' }
  await get(front.port, '/plain/x', { ...said, ...sent })
  await until(() => cache.stats().stores === 1)
  t.same(Object.keys(asked[0]?.headers ?? {}).sort(), ['accept', 'connection', 'host', 'user-agent'])
  t.equal((await get(front.port, '/plain/x', said)).headers['x-cache'], 'HIT')
})

t.test('an entry answers those who ask for the same, or for anything', async (t) => {
  const { front, asked, cache } = await startRecorded(t, ({ headers: { accept } }, response) => {
    response.setHeader('Vary', 'Accept')
    response.end(accept === 'application/json' ? '{}' : 'package')
  })
  const as = async (accept?: string): Promise<unknown> => {
    const { headers, body } = await get(front.port, '/plain/x', accept === undefined ? {} : { accept })
    return `${String(headers['x-cache'])} ${body.toString()}`
  }
  t.equal(await as('text/html, image/gif, */*; q=.2'), 'MISS package')
  await until(() => cache.stats().stores === 1)
  for (const accept of [undefined, '*/*', 'text/html, image/gif, */*; q=.2'])
    t.equal(await as(accept), 'HIT package', accept ?? 'none')
  t.equal(asked[0]?.headers.accept, '*/*', 'a package has one form')
  t.equal(await as('application/json'), 'MISS {}')
  await until(() => cache.stats().stores === 2)
  t.equal(await as('application/json'), 'HIT {}')
  t.equal(await as(), 'MISS package', 'one form of a URL is kept, the last')
})

t.test('cookies are credentials: what they brought is not kept for others', async (t) => {
  const { front, asked } = await startRecorded(t, ({ headers }, response) => {
    if (headers.cookie?.includes('shared') === true) response.setHeader('Cache-Control', 'public')
    response.end(headers.cookie ?? 'nobody')
  })
  for (let round = 0; round < 2; round += 1)
    t.equal((await get(front.port, '/plain/x', { cookie: 'me=1' })).headers['x-cache'], undefined)
  t.equal((await get(front.port, '/plain/x')).body.toString(), 'nobody')
  t.equal(asked.length, 3)
})

t.test('a body with GET is passed on', async (t) => {
  const { front, cache } = await startRecorded(t, (request, response) => void request.pipe(response))
  await get(front.port, '/plain/x', { 'content-length': '0' })
  t.equal(front.outcomes.at(-1)?.kind, 'served')
  const aside = await get(front.port, '/plain/y', { 'transfer-encoding': 'chunked' })
  t.equal(aside.headers['x-cache'], undefined)
  t.equal(cache.stats().misses, 1)
})

t.test('a rule may send further headers along', async (t) => {
  const rule = { name: 'keyed', match: { path: '^/keyed/' }, pass_headers: ['X-Api-Key'] }
  const { front, asked, cache } = await startRecorded(t, (_request, response) => void response.end('x'), {
    section: { rules: [rule] },
  })
  await get(front.port, '/keyed/x', { 'x-api-key': 'k' })
  await until(() => cache.stats().stores === 1)
  t.equal(asked[0]?.headers['x-api-key'], 'k')
  t.equal((await get(front.port, '/keyed/x')).headers['x-cache'], 'HIT')
})

t.test('through the proxy: shared words on the wire, the client’s own otherwise', async (t) => {
  const cache = await openTestCache(t.testdir())
  t.teardown(() => cache.close())
  const origin = await startRecordingOrigin(t, (_request, response) => void response.end('content'))
  const proxy = await startProxy(t, { cache })
  const ask = (path: string, headers: Record<string, string>) =>
    proxiedGet(proxy.port, `http://127.0.0.1:${origin.port}${path}`, { headers })
  await ask(BLOB, { 'X-Original-URL': '/admin', 'User-Agent': 'docker/1', Authorization: 'Bearer t' })
  const { headers = {} } = origin.asked[0] ?? {}
  t.match(headers, { 'user-agent': 'docker/1', authorization: 'Bearer t', 'accept-encoding': 'identity' })
  t.equal(headers['x-original-url'], undefined)
  await ask('/plain/x', { 'X-Original-URL': '/admin' })
  t.equal(origin.asked[1]?.headers['x-original-url'], '/admin')
  // The blob may still be on its way to the folder, which is removed before anything else is torn down.
  await cache.close()
})
