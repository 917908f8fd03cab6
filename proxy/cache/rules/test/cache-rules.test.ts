import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { loadDefaultConfig } from '../../../../config/layers/load.js'
import { compileRules } from '../rules.js'
import { get, openTestCache, startCached, type FrontOptions } from '../../../../test/lab/cache-front.js'
import { startHttpOrigin, startProxy } from '../../../../test/lab/harness.js'

const HEX = createHash('sha256').update('content').digest('hex')
const DAY_MS = 86_400_000
const COMMIT = '0123456789abcdef0123456789abcdef01234567'

/** A cache in front of an origin that answers as told; `asked` is what reached it. */
async function start(
  t: Test,
  listener: (request: IncomingMessage, response: ServerResponse) => void,
  options: FrontOptions = {},
) {
  const asked: string[] = []
  const origin = await startHttpOrigin(t, (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''}`.trim())
    listener(request, response)
  })
  const started = await startCached(t, origin.port, options)
  return { ...started, asked, origin }
}

t.test('the shipped rules keep packages, not what names the newest of them', async (t) => {
  const { find, names } = compileRules(loadDefaultConfig().config.cache)
  const ruleOf = (url: string): string | undefined => {
    const { host, pathname } = new URL(`https://${url}`)
    return find({ authority: `${host}:443`, path: pathname })?.rule.name
  }
  const expected: Record<string, readonly string[]> = {
    patterns: [`registry-1.docker.io/v2/library/debian/blobs/sha256:${HEX}`],
    npm: ['registry.npmjs.org/react/-/react-18.2.0.tgz', 'npm.example/@babel/core/-/core-7.0.0.tgz'],
    pypi: [
      `files.pythonhosted.org/packages/ab/cd/${'0'.repeat(60)}/requests-2.31.0-py3-none-any.whl`,
      `files.pythonhosted.org/packages/ab/cd/${'0'.repeat(60)}/requests-2.31.0-py3-none-any.whl.metadata`,
    ],
    crates: ['static.crates.io/crates/serde/serde-1.0.0.crate'],
    'crates-download': [
      'static.crates.io/crates/serde/1.0.0/download',
      'crates.io/api/v1/crates/serde/1.0.0/download',
    ],
    go: [
      'proxy.golang.org/github.com/!azure/sdk/@v/v1.2.3.zip',
      'goproxy.example/x/@v/v1.2.3-0.20200101000000-abcdef.mod',
      'goproxy.example/x/@v/v2.0.0+incompatible.info',
    ],
    debian: [
      'deb.debian.org/debian/pool/main/b/bash/bash_5.2-1_amd64.deb',
      'mirror.example/debian/pool/main/b/bash/bash_5.2.orig.tar.xz',
      'mirror.example/debian/pool/main/b/bash/bash_5.2-1.dsc',
    ],
    'debian-by-hash': [`deb.debian.org/debian/dists/sid/main/binary-amd64/by-hash/SHA256/${HEX}`],
    rubygems: ['rubygems.org/gems/rails-7.0.0.gem'],
    maven: [
      'repo1.maven.org/maven2/org/slf4j/slf4j-api/2.0.0/slf4j-api-2.0.0.jar',
      'repo1.maven.org/maven2/org/slf4j/slf4j-api/2.0.0/slf4j-api-2.0.0.pom.sha1',
    ],
    composer: [
      `codeload.github.com/symfony/console/legacy.zip/${COMMIT}`,
      `codeload.github.com/symfony/console/zip/${COMMIT}`,
      `codeload.github.com/symfony/console/tar.gz/${COMMIT}`,
    ],
    elpa: [
      'elpa.gnu.org/packages/ace-window-0.10.0.tar',
      'elpa.gnu.org/packages/ace-window-0.10.0.tar.sig',
      'elpa.gnu.org/devel/compat-30.0.1.0.20250101.101010.tar',
      'elpa.nongnu.org/nongnu/magit-4.1.0.tar',
      'elpa.gnu.org/packages/let-alist-1.0.6.el',
      'melpa.org/packages/dash-20240510.1327.tar',
      'stable.melpa.org/packages/s-1.13.0.tar',
    ],
    luarocks: [
      'luarocks.org/manifests/hisham/luafilesystem-1.8.0-1.src.rock',
      'luarocks.org/luafilesystem-1.8.0-1.rockspec',
      'luarocks.org/manifests/x/lpeg-1.1.0-2.linux-x86_64.rock',
    ],
    cpan: [
      'www.cpan.org/authors/id/E/ET/ETHER/Moose-2.2207.tar.gz',
      'cpan.metacpan.org/authors/id/A/AB/ABC/sub/folder/Some-Module-v1.2.3.zip',
      'mirror.example/CPAN/authors/id/E/ET/ETHER/Moose-2.2207.meta',
    ],
  }
  for (const [name, urls] of Object.entries(expected)) {
    t.ok(names.includes(name))
    for (const url of urls) t.equal(ruleOf(url), name, url)
  }
  t.notOk(names.includes('github-releases'), 'switched off')
  for (const url of [
    'registry.npmjs.org/react',
    'registry.npmjs.org/@babel%2fcore',
    'pypi.org/simple/requests/',
    'index.crates.io/se/rd/serde',
    'evil.example/crates/serde/1.0.0/download',
    'proxy.golang.org/x/@v/list',
    'proxy.golang.org/x/@latest',
    'proxy.golang.org/x/@v/v1.info',
    'proxy.golang.org/x/@v/master.info',
    'deb.debian.org/debian/dists/sid/InRelease',
    `deb.debian.org/debian/dists/sid/by-hash/SHA256/${HEX.slice(1)}`,
    'rubygems.org/specs.4.8.gz',
    'repo1.maven.org/maven2/org/slf4j/slf4j-api/maven-metadata.xml',
    'repo1.maven.org/maven2/a/b/1.0-SNAPSHOT/b-1.0-20200101.010101-1.jar',
    'intranet.example/maven2/org/slf4j/slf4j-api/2.0.0/slf4j-api-2.0.0.jar',
    'objects.githubusercontent.com/github-production-release-asset-2e65be/1/2',
    'codeload.github.com/symfony/console/legacy.zip/refs/heads/main',
    'codeload.github.com/symfony/console/zip/v1.0.0',
    `evil.example/symfony/console/zip/${COMMIT}`,
    'elpa.gnu.org/packages/archive-contents',
    'elpa.gnu.org/packages/ace-window.html',
    'melpa.org/packages/dash-badge.svg',
    'luarocks.org/manifest-5.4',
    'luarocks.org/manifests/hisham/manifest',
    'luarocks.org/luafilesystem-scm-1.rockspec',
    'luarocks.org/manifests/x/thing-dev-1.src.rock',
    'www.cpan.org/authors/id/E/ET/ETHER/CHECKSUMS',
    'www.cpan.org/authors/01mailrc.txt.gz',
    'www.cpan.org/modules/02packages.details.txt.gz',
  ]) {
    t.equal(ruleOf(url), undefined, url)
  }
})

t.test(
  'a rule says whose entries are shared, how large they may be, and what they must hash to',
  async (t) => {
    const rules = [
      { name: 'signed', match: { host: ['signed.test'], path: '^/f/' }, ignore_query: true },
      { name: 'small', match: { path: '^/small/' }, max_object: 10 },
      { name: 'hashed', match: { path: '^/h/' }, verify: 'sha256' as const },
    ]
    const { front, asked } = await start(
      t,
      (request, response) => {
        const size = Number(/size=(\d+)/.exec(request.url ?? '')?.[1] ?? 0)
        const body = size > 0 ? 'x'.repeat(size) : (request.url ?? '').includes('wrong') ? 'other' : 'content'
        if ((request.url ?? '').includes('chunked')) response.write(body)
        response.end((request.url ?? '').includes('chunked') ? '' : body)
      },
      { section: { rules } },
    )
    const cacheOf = async (path: string, host = 'signed.test'): Promise<unknown> =>
      (await get(front.port, path, { host })).headers['x-cache']
    t.equal(await cacheOf('/f/1?sig=a'), 'MISS')
    t.equal(await cacheOf('/f/1?sig=b'), 'HIT', 'the query is ignored')
    t.equal(await cacheOf('/f/1?sig=a', 'other.test'), undefined, 'of that host only')

    t.equal(await cacheOf('/small/a?size=10'), 'MISS')
    t.equal(await cacheOf('/small/a?size=10'), 'HIT')
    t.equal(await cacheOf('/small/a?size=11'), undefined, 'announced as too large')
    t.equal(await cacheOf('/small/a?size=11&chunked'), 'MISS', 'found to be too large')
    t.equal(await cacheOf('/small/a?size=11&chunked'), 'MISS')

    t.equal(await cacheOf('/h/none'), undefined, 'names no digest')
    t.ok((await get(front.port, `/h/${HEX}?wrong`)).status !== 200)
    t.equal(await cacheOf(`/h/${HEX}`), 'MISS')
    t.equal(await cacheOf(`/h/else/${HEX}?x`, 'other.test'), 'HIT', 'the digest is the key')
    t.equal(asked.filter((line) => line.includes('/f/1')).length, 2)
  },
)

t.test('an expired entry is asked about, and fetched again only if it has changed', async (t) => {
  let now = Date.UTC(2026, 0, 1)
  let version = 1
  const { front, asked, cache } = await start(
    t,
    (request, response) => {
      if (request.url === '/plain/bare') return void response.end(`bare ${version}`)
      const tag = `"v${version}"`
      const head = { ETag: tag, 'X-Seen': String(asked.length) }
      if (request.headers['if-none-match'] === tag) return void response.writeHead(304, head).end()
      response.writeHead(200, head).end(`version ${version}`)
    },
    { now: () => now, section: { ttl: DAY_MS } },
  )
  const ask = async (path = '/plain/x', headers = {}): Promise<readonly unknown[]> => {
    const { headers: got, body } = await get(front.port, path, headers)
    return [got['x-cache'], body.toString(), got.age, got['x-seen']]
  }
  t.same(await ask(), ['MISS', 'version 1', undefined, '1'])
  now += DAY_MS - 1000
  t.same(await ask(), ['HIT', 'version 1', '86399', '1'])
  t.equal(asked.length, 1)
  now += 1000
  const [one, other] = await Promise.all([ask(), ask()])
  t.same(one, ['HIT', 'version 1', '0', '2'], 'it holds: its head is that of the 304')
  t.same(other, one)
  t.equal(asked.length, 2, 'asked once')
  now += DAY_MS
  version = 2
  t.same(await ask('/plain/x', { range: 'bytes=0-3' }), [undefined, 'version 2', undefined, '4'])
  t.equal(asked.length, 4, 'a part is had from upstream by itself, while the entry is renewed')
  t.same((await ask()).slice(0, 2), ['HIT', 'version 2'])
  now += DAY_MS
  version = 3
  t.same((await ask()).slice(0, 2), ['MISS', 'version 3'])
  t.same((await ask()).slice(0, 2), ['HIT', 'version 3'])

  t.same((await ask('/plain/bare')).slice(0, 2), ['MISS', 'bare 3'])
  now += DAY_MS
  version = 4
  t.same(
    (await ask('/plain/bare')).slice(0, 2),
    ['MISS', 'bare 4'],
    'without a validator it is fetched again',
  )
  t.equal(cache.stats().errors, 0)
})

t.test(
  'while upstream fails, what has expired is served, for as long as stale_if_error allows',
  async (t) => {
    let now = Date.UTC(2026, 0, 1)
    let fault: number | 'reset' | undefined
    const { front, asked } = await start(
      t,
      (request, response) => {
        if (fault === 'reset') return void request.socket.destroy()
        response.writeHead(fault ?? 200, { ETag: '"v"' }).end('content')
      },
      { now: () => now, section: { ttl: DAY_MS, stale_if_error: DAY_MS } },
    )
    await get(front.port, '/plain/x')
    await get(front.port, '/plain/gone')
    now += DAY_MS + 1000
    fault = 'reset'
    t.equal((await get(front.port, '/plain/x')).body.toString(), 'content')
    t.equal((await get(front.port, '/plain/x')).headers['x-cache'], 'HIT')
    t.equal(asked.length, 3, 'what has just failed is not asked again at once')
    now += 11_000
    fault = 503
    t.equal((await get(front.port, '/plain/x', {}, 'HEAD')).headers['x-cache'], 'HIT')
    t.equal(asked.length, 4)
    now += 11_000
    fault = 404
    t.equal((await get(front.port, '/plain/gone')).status, 404, 'an answer is no failure')
    now += DAY_MS
    fault = 503
    t.equal((await get(front.port, '/plain/x')).status, 503, 'too old')
    fault = undefined
    t.equal((await get(front.port, '/plain/gone')).headers['x-cache'], 'MISS')
  },
)

t.test('offline, what is stored is served and nothing is asked upstream', async (t) => {
  const dir = t.testdir()
  const listener = (_request: IncomingMessage, response: ServerResponse): void => void response.end('content')
  const first = await start(t, listener, { dir })
  await get(first.front.port, '/plain/x', { host: 'a.test' })
  const only = { host: 'a.test', 'cache-control': 'only-if-cached' }
  t.equal((await get(first.front.port, '/plain/x', only)).status, 200)
  t.equal((await get(first.front.port, '/plain/y', only)).status, 502)
  t.match(first.front.outcomes.at(-1), { kind: 'threw', error: { code: 'NOT_STORED' } })
  t.equal(first.asked.length, 1)
  await first.cache.close()

  const { front, asked } = await start(t, listener, { dir, section: { offline: true, ttl: 1 } })
  t.equal(
    (await get(front.port, '/plain/x', { host: 'a.test' })).body.toString(),
    'content',
    'expired or not',
  )
  for (const [method, path] of [
    ['GET', '/plain/y'],
    ['HEAD', '/plain/y'],
    ['GET', '/elsewhere'],
    ['POST', '/plain/x'],
  ] as const) {
    await get(front.port, path, { host: 'a.test' }, method)
    t.match(
      front.outcomes.at(-1),
      { kind: 'threw', error: { code: 'NOT_STORED', message: /it is not stored, and cache\.offline/ } },
      `${method} ${path}`,
    )
  }
  t.same(asked, [])
})

t.test('the proxy says 504, with the reason, for what is not stored', async (t) => {
  const cache = await openTestCache(t.testdir(), { section: { offline: true } })
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { cache })
  const { status, body } = await proxy.curl('-i', '-x', 'http://$PROXY', 'http://a.test/plain/x?secret=1')
  t.equal(status, 504)
  t.match(body, /Proxy-Status: discobot; error=destination_unavailable/)
  t.match(body, /cannot answer for http:\/\/a\.test:80\/plain\/x: it is not stored, and cache\.offline/)
})

t.test('with authorization: revalidate, an entry goes only to those whom upstream lets in', async (t) => {
  let now = Date.UTC(2026, 0, 1)
  const { front, asked } = await start(
    t,
    (request, response) => {
      const mine =
        request.headers.authorization === 'Bearer good' || request.url?.includes('/public/') === true
      response.writeHead(mine ? 200 : 401).end(mine ? 'content' : 'no')
    },
    { now: () => now, section: { authorization: 'revalidate' } },
  )
  const as = async (token: string, path: string): Promise<readonly unknown[]> => {
    const { status, headers } = await get(
      front.port,
      path,
      token === '' ? {} : { authorization: `Bearer ${token}` },
    )
    return [status, headers['x-cache']]
  }
  const path = `/v2/mine/app/blobs/sha256:${HEX}`
  t.same(await as('good', path), [200, 'MISS'])
  t.same(await as('good', path), [200, 'HIT'], 'who fetched it need not ask')
  t.equal(asked.length, 1)
  t.same(await as('bad', path), [401, undefined])
  t.same(await as('', path), [401, undefined])
  const heads = (): number => asked.filter((line) => line.startsWith('HEAD')).length
  t.equal(heads(), 2)
  t.same(await as('bad', path), [401, undefined])
  t.equal(heads(), 2, 'the verdict is kept')
  t.same(await as('good', path.replace('mine', 'theirs')), [200, 'HIT'], 'from another repository')
  t.equal(heads(), 3, 'the token has to be good there too')
  now += 5 * 60_000
  t.same(await as('good', path), [200, 'HIT'])
  t.equal(heads(), 4, 'and not for ever')

  const open = `/v2/public/app/manifests/sha256:${HEX}`
  t.same(await as('', open), [200, 'MISS'])
  t.same(await as('bad', open), [200, 'HIT'], 'what took no credentials is everybody’s')
  t.equal(heads(), 4)
})

t.test('with authorization: trust, one container owns what its credentials fetched', async (t) => {
  const { front, asked } = await start(t, (_request, response) => void response.end('content'))
  const path = `/v2/mine/app/blobs/sha256:${HEX}`
  await get(front.port, path, { authorization: 'Bearer good' })
  t.equal((await get(front.port, path)).headers['x-cache'], 'HIT')
  t.equal(asked.length, 1)
})

t.test('who asks for a package afresh gets it as it is; of other things, upstream is asked', async (t) => {
  const rules = [{ name: 'versions', match: { path: '^/versions/' }, no_cache: 'serve' as const }]
  let version = 1
  const { front, asked, cache } = await start(
    t,
    (request, response) => {
      response.setHeader('ETag', `"${version}"`)
      if (request.headers['if-none-match'] === `"${version}"`) response.writeHead(304).end()
      else response.end(`version ${version}`)
    },
    { section: { rules } },
  )
  await get(front.port, '/versions/x-1')
  await get(front.port, '/plain/x')
  while (cache.stats().stores < 2) await new Promise(setImmediate)
  // As Maven has it, and LuaRocks.
  const fresh = { 'cache-control': 'no-cache', 'cache-store': 'no-store', pragma: 'no-cache', expires: '0' }
  for (const headers of [fresh, { pragma: 'no-cache' }, { 'cache-control': 'no-cache' }]) {
    const before = asked.length
    t.equal((await get(front.port, '/versions/x-1', headers)).headers['x-cache'], 'HIT')
    t.equal(asked.length, before)
    t.equal((await get(front.port, '/plain/x', headers)).headers['x-cache'], 'HIT', 'it still holds')
    t.equal(asked.length, before + 1, 'as upstream says')
  }
  version = 2
  t.equal((await get(front.port, '/plain/x', fresh)).body.toString(), 'version 2')
  while (cache.stats().stores < 3) await new Promise(setImmediate)
  t.equal((await get(front.port, '/plain/x')).body.toString(), 'version 2', 'and so has everybody')
})

t.test('every shipped rule without a digest says what it expects and serves', async (t) => {
  for (const { name, verify, enabled, expect, no_cache } of loadDefaultConfig().config.cache.rules) {
    if (verify !== undefined || enabled === false) continue
    t.ok(expect === 'package' || expect === 'file', name)
    t.equal(no_cache, 'serve', name)
  }
})

t.test('a field of requests that are passed on may be in Vary', async (t) => {
  const { front, cache } = await start(t, ({ url = '' }, response) => {
    response.setHeader('Vary', decodeURIComponent(url.split('?')[1] ?? ''))
    response.end('content')
  })
  // The archive of a commit, as GitHub sends it.
  const github = '/plain/x?Authorization%2CAccept-Encoding%2COrigin'
  await get(front.port, github)
  while (cache.stats().stores < 1) await new Promise(setImmediate)
  t.equal((await get(front.port, github)).headers['x-cache'], 'HIT')
  t.equal((await get(front.port, github, { origin: 'https://a.test' })).headers['x-cache'], undefined)
  for (const vary of ['*', 'Cookie', 'User-Agent', 'Accept-Language']) {
    await get(front.port, `/plain/x?${vary}`)
    t.equal((await get(front.port, `/plain/x?${vary}`)).headers['x-cache'], undefined, vary)
  }
})

t.test('what a host keeps for one user is not kept by rules without a digest', async (t) => {
  const { front, cache } = await start(t, (request, response) => {
    const { searchParams } = new URL(request.url ?? '/', 'http://o')
    for (const [name, value] of searchParams) response.setHeader(name, value)
    response.end('content')
  })
  const secret = { authorization: 'Basic x' }
  for (const query of ['Cache-Control=no-cache', 'Cache-Control=private', 'Set-Cookie=a', 'Vary=Cookie']) {
    for (let round = 0; round < 2; round += 1) {
      t.equal((await get(front.port, `/plain/x?${query}`)).headers['x-cache'], undefined, query)
    }
  }
  t.equal((await get(front.port, '/plain/x', secret)).headers['x-cache'], undefined)
  const shared = '/plain/x?Cache-Control=public&Set-Cookie=session'
  t.equal((await get(front.port, shared, secret)).headers['x-cache'], 'MISS', 'public is for everybody')
  const again = await get(front.port, shared)
  t.equal(again.headers['x-cache'], 'HIT')
  t.equal(again.headers['set-cookie'], undefined, 'but never its cookie')
  t.equal(cache.stats().stores, 1)
})
