import t from 'tap'
import type { AccessRule } from '../../../config/model/config.js'
import { compileRulePath } from '../../../config/model/rule-path.js'
import { pathReadings } from '../path-readings.js'
import { openRaw, startProxy, startTcpOrigin } from '../../../test/lab/harness.js'
import { WAYS, ask, startSite } from './three-ways.js'

const RULES: readonly AccessRule[] = [
  { name: 'pulls', action: 'allow', hosts: ['registry.test'], methods: ['GET'], paths: ['/v2/*'] },
  { action: 'allow', hosts: ['*.git.test'], methods: ['GET', 'POST'] },
  { action: 'block', hosts: ['repo.git.test'], methods: ['POST'], paths: ['/*/git-receive-pack'] },
  {
    name: 'no admin',
    action: 'block',
    hosts: ['open.test'],
    paths: ['/admin', '/admin/*', '^/[0-9]+/secret$'],
  },
  { action: 'allow', hosts: ['only.port.test'], ports: [9] },
  { action: 'block', hosts: ['192.0.2.7'] },
]

type Row = readonly [method: string, host: string, path: string, status: 200 | 403, reason?: RegExp]

const TABLE: readonly Row[] = [
  ['GET', 'registry.test', '/v2/a/manifests/latest', 200],
  ['HEAD', 'registry.test', '/v2/a/manifests/latest', 200],
  ['GET', 'registry.test', '/v2/?n=1', 200],
  ['GET', 'REGISTRY.test.', '/v2/a', 200],
  [
    'POST',
    'registry.test',
    '/v2/a/blobs/uploads/',
    403,
    /rules\[0\] \(pulls\) allows it only for GET on \/v2\/\*/,
  ],
  ['GET', 'registry.test', '/', 403, /rules\[0\] \(pulls\) allows/],
  ['GET', 'registry.test', '/x?/v2/', 403, /rules\[0\]/],
  ['GET', 'registry.test', '/x/v2/a', 403, /rules\[0\]/],
  ['GET', 'registry.test', '/v2/../admin', 403, /rules\[0\]/],
  ['GET', 'registry.test', '/v2/%2e%2e/admin', 403, /rules\[0\]/],
  ['GET', 'registry.test', '/v2/%252e%252e/admin', 403, /rules\[0\]/],
  ['GET', 'registry.test', '/v2/..%2fadmin', 403, /rules\[0\]/],
  ['GET', 'registry.test', '/v2/..%5cadmin', 403, /rules\[0\]/],
  ['GET', 'registry.test', '/v2/..;/admin', 403, /rules\[0\]/],
  ['GET', 'sub.registry.test', '/v2/a', 403, /not in allowlist\.domains/],
  ['GET', 'repo.git.test', '/x.git/info/refs?service=git-upload-pack', 200],
  ['POST', 'repo.git.test', '/x.git/git-upload-pack', 200],
  ['POST', 'repo.git.test', '/x.git/git-receive-pack', 403, /rules\[2\] blocks POST/],
  ['POST', 'repo.git.test', '/x.git/git-receive%2Dpack', 403, /rules\[2\]/],
  ['POST', 'other.git.test', '/x.git/git-receive-pack', 200],
  ['DELETE', 'repo.git.test', '/', 403, /rules\[1\] allows it only for GET, POST/],
  ['GET', 'git.test', '/', 403, /not in allowlist\.domains/],
  ['GET', 'open.test', '/', 200],
  ['GET', 'open.test', '/administration', 200],
  ['GET', 'open.test', '/admin', 403, /rules\[3\] \(no admin\) blocks/],
  ['PUT', 'open.test', '/admin/users', 403, /no admin/],
  ['GET', 'open.test', '//admin//users', 403, /no admin/],
  ['GET', 'open.test', '/./admin/', 403, /no admin/],
  ['GET', 'open.test', '/%61dmin', 403, /no admin/],
  ['GET', 'open.test', '/x/../admin', 403, /no admin/],
  ['GET', 'open.test', '/admin;v=1', 403, /no admin/],
  ['GET', 'open.test', '/12/secret', 403, /no admin/],
  ['GET', 'open.test', '/12/secrets', 200],
  ['GET', 'open.test', `/${'a'.repeat(2100)}`, 403, /no admin/],
  ['GET', 'only.port.test', '/', 403, /rules\[4\] allows it only for at port 9/],
  ['GET', 'blocked.test', '/', 403, /blocklist\.domains has "blocked\.test"/],
  ['GET', '127.0.0.1', '/', 403, /not in allowlist\.domains/],
  ['GET', '[::ffff:127.0.0.1]', '/', 403, /not in allowlist\.domains/],
  ['GET', 'to-a-literal.test', '/', 403, /rules\[5\] blocks 192\.0\.2\.7/],
]

t.test('methods, paths and hosts are judged alike in every form of asking; block beats allow', async (t) => {
  const proxy = await startProxy(t, {
    rules: RULES,
    allowlist: { enabled: true, domains: ['open.test', 'blocked.test', 'to-a-literal.test'], ips: [] },
    blocklist: { domains: ['blocked.test'], ips: [] },
    addresses: { 'to-a-literal.test': ['192.0.2.7'] },
  })
  let asked = 0
  const site = await startSite(t, proxy, (_request, response) => {
    asked += 1
    response.end('reached')
  })
  for (const [method, host, path, status, reason] of TABLE) {
    for (const way of WAYS) {
      const before = asked
      const told = await ask(proxy, site, way, { method, host, path })
      const what = `${way}: ${method} ${host}${path.slice(0, 60)}`
      t.equal(told.status, status, what)
      t.equal(asked - before, status === 200 ? 1 : 0, `${what}: upstream is asked only if allowed`)
      if (reason !== undefined && method !== 'HEAD' && !/SOCKS5|CONNECT tunnel/.test(told.text)) {
        t.match(told.text, reason, what)
      }
    }
  }
})

t.test(
  'bytes that nobody looks into need a rule without methods and paths, and no rule against',
  async (t) => {
    const port = await startTcpOrigin(t, (socket) => socket.once('data', () => socket.end('raw reached')))
    const proxy = await startProxy(t, {
      allowlist: { enabled: true, domains: [], ips: [] },
      passthrough: ['pinned.test', 'pinned-any.test'],
      rules: [
        { action: 'allow', hosts: ['get-only.test', 'pinned.test'], methods: ['GET'] },
        { action: 'allow', hosts: ['any.test', 'pinned-any.test', 'but-no-post.test'] },
        { action: 'block', hosts: ['but-no-post.test'], methods: ['POST'] },
      ],
    })
    const send = async (host: string, bytes: string): Promise<string> => {
      const target = `${host}:${port}`
      const client = await openRaw(
        t,
        proxy.port,
        `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n${bytes}`,
      )
      return (await client.closed()).text
    }
    t.match(await send('any.test', 'SSH-2.0-x\r\n'), /200[\s\S]*raw reached$/)
    t.match(await send('pinned-any.test', 'SSH-2.0-x\r\n'), /200[\s\S]*raw reached$/)
    // An empty line before a request is skipped, by servers and by us.
    for (const bytes of [
      'SSH-2.0-x\r\n',
      '\r\nPOST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\n',
    ]) {
      t.notMatch(await send('get-only.test', bytes), /reached/)
      t.notMatch(await send('but-no-post.test', bytes), /reached/)
    }
    t.match(await send('pinned.test', '\x16\x03'), /^HTTP\/1\.1 403 [\s\S]*bytes that nobody can judge/)
  },
)

t.test('an allow rule counts only where the allowlist is enabled; an empty one denies', async (t) => {
  const rules: AccessRule[] = [{ action: 'allow', hosts: ['a.test'], methods: ['GET'] }]
  const off = await startProxy(t, { rules })
  const site = await startSite(t, off, (_request, response) => void response.end('reached'))
  t.equal((await ask(off, site, 'plain', { host: 'b.test', method: 'POST' })).status, 200)
  const on = await startProxy(t, { rules, allowlist: { enabled: true, domains: [], ips: [] } })
  t.equal((await ask(on, site, 'plain', { host: 'a.test' })).status, 200)
  t.equal((await ask(on, site, 'plain', { host: 'a.test', method: 'POST' })).status, 403)
  t.equal((await ask(on, site, 'plain', { host: 'b.test' })).status, 403)
})

t.test('an address that is blocked as a host is blocked behind a name as well', async (t) => {
  const proxy = await startProxy(t, {
    blocklist: { domains: ['192.0.2.1'], ips: [] },
    rules: [{ action: 'block', hosts: ['192.0.2.2'], methods: ['POST'] }],
    addresses: { 'one.test': ['192.0.2.1'], 'two.test': ['64:ff9b::192.0.2.2'] },
  })
  const site = await startSite(t, proxy, (_request, response) => void response.end('reached'))
  t.match(await ask(proxy, site, 'plain', { host: 'one.test' }), {
    status: 403,
    text: /blocklist\.domains has/,
  })
  t.match(await ask(proxy, site, 'plain', { host: 'two.test', method: 'POST' }), {
    status: 403,
    text: /rules\[0\] blocks 64:ff9b::/,
  })
})

t.test('a path of a rule is the whole path; * is any text', async (t) => {
  const matches = (pattern: string, path: string): boolean => compileRulePath(pattern)(path)
  t.ok(matches('/a', '/a'))
  t.notOk(matches('/a', '/a/'))
  t.ok(matches('/a/*', '/a/'))
  t.ok(matches('/*/b/*/d', '/a/b/c/x/d'))
  t.notOk(matches('/a*a', '/a'), 'parts do not overlap')
  t.notOk(matches('/*.js', '/a.json'))
  t.ok(matches('/a.b', '/a.b'))
  t.notOk(matches('/a.b', '/axb'), 'nothing else is special')
  t.ok(matches('^/a', '/abc'))
  t.notOk(matches('^/a|/b', '/x/b'), 'each branch begins at the start')
  const started = performance.now()
  t.notOk(matches('/' + 'a*'.repeat(500) + 'b', '/' + 'a'.repeat(60_000)))
  t.ok(performance.now() - started < 500, 'in linear time')
})

t.test('the spellings of a path hold what servers may make of it', async (t) => {
  t.strictSame(pathReadings('/v2/a'), ['/v2/a'])
  t.ok(pathReadings('/a/b/../c/').includes('/a/c/'))
  t.ok(pathReadings('/../../x').includes('/x'))
  t.ok(pathReadings('/a/%2E%2e%2Fb').includes('/b'))
  t.ok(pathReadings('/a/..').includes('/'))
  t.strictSame(pathReadings('*'), ['*'])
  t.strictSame(pathReadings('/%zz%'), ['/%zz%'])
})
