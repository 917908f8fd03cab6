import t from 'tap'
import type { HeaderRule } from '../../../config/model/config.js'
import { startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'

const WAYS = [
  ['-x', 'http://$PROXY'],
  ['-p', '-x', 'http://$PROXY'],
] as const

t.test(
  'a blocked host is answered with 403 and the reason, in plain form, in CONNECT and over TLS',
  async (t) => {
    const proxy = await startProxy(t, { blocklist: { domains: ['*.bad.test', 'exact.test'], ips: [] } })
    for (const url of [
      'http://a.bad.test/',
      'http://A.B.Bad.Test./',
      'http://exact.test:8080/',
      'https://a.bad.test/',
      'https://exact.test:8443/',
    ]) {
      for (const way of WAYS) {
        const { status, body } = await proxy.curl(...way, url)
        t.equal(status, 403, url)
        t.match(
          body,
          /^discobot-proxy: .* may not be reached: blocklist\.domains has "(\*\.bad|exact)\.test"/,
        )
      }
    }
    const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
    t.equal(
      (await proxy.curl('-x', 'http://$PROXY', `http://bad.test:${port}/`)).body,
      'reached',
      '*.bad.test is not bad.test',
    )
  },
)

t.test('an allowlist lets through what it names and nothing else', async (t) => {
  const proxy = await startProxy(t, {
    allowlist: { enabled: true, domains: ['good.test', 'api.*'], ips: [] },
  })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const ask = async (host: string): Promise<number> =>
    (await proxy.curl('-x', 'http://$PROXY', `http://${host}:${port}/`)).status
  t.equal(await ask('good.test'), 200)
  t.equal(await ask('GOOD.test'), 200)
  t.equal(await ask('api.test'), 200)
  t.equal(await ask('api.evil.test'), 403)
  t.equal(await ask('sub.good.test'), 403)
  t.equal(await ask('127.0.0.1'), 403)
})

t.test('an allowlist that is enabled and empty denies everything', async (t) => {
  const proxy = await startProxy(t, { allowlist: { enabled: true, domains: [], ips: [] } })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  t.match(await proxy.curl('-x', 'http://$PROXY', `http://any.test:${port}/`), {
    status: 403,
    body: /not in allowlist\.domains/,
  })
})

t.test('block beats allow, and addresses count however the host was written', async (t) => {
  const proxy = await startProxy(t, {
    allowlist: { enabled: true, domains: ['*.test'], ips: ['127.0.0.0/8'] },
    blocklist: { domains: ['no.test'], ips: ['192.0.2.0/24'] },
    addresses: {
      'points-at-blocked.test': ['192.0.2.1'],
      'elsewhere.example': ['198.51.100.1'],
      'here.example': ['127.0.0.1'],
    },
  })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const ask = async (host: string): Promise<{ status: number; body: string }> =>
    proxy.curl('-x', 'http://$PROXY', `http://${host}:${port}/`)
  t.equal((await ask('yes.test')).status, 200)
  t.equal((await ask('no.test')).status, 403)
  t.equal((await ask('here.example')).status, 200, 'its address is allowed')
  t.match(await ask('elsewhere.example'), { status: 403, body: /198\.51\.100\.1 is not in allowlist\.ips/ })
  t.match(await ask('points-at-blocked.test'), { status: 403, body: /blocklist\.ips has 192\.0\.2\.1/ })
  t.equal((await ask('127.1')).status, 200)
  t.match(await ask('3221225985'), { status: 403, body: /192\.0\.2\.1/ })
  t.match(await ask('[::ffff:192.0.2.1]'), { status: 403, body: /192\.0\.2\.1/ })
})

t.test(
  'header rules: the most specific pattern applies alone; set replaces, append joins, conditions hold',
  async (t) => {
    const rule = (value: string): Partial<HeaderRule> => ({ set: { 'X-Rule': value }, insecure: true })
    const proxy = await startProxy(t, {
      headers: {
        '*': rule('any'),
        '*.example.test': rule('below'),
        '*.a.example.test': rule('further below'),
        'www.example.*': rule('one more'),
        'x.a.example.test': rule('exact'),
        'full.test': {
          set: { Authorization: 'Bearer s3cret' },
          append: { 'X-Forwarded-For': 'proxy.internal', 'X-New': 'n' },
          conditions: [{ header: 'X-Env', equals: 'prod' }],
        },
      },
    })
    let seen: string[] = []
    const listener = (
      request: import('node:http').IncomingMessage,
      response: import('node:http').ServerResponse,
    ): void => {
      seen = request.rawHeaders
      response.end('ok')
    }
    const { port } = await startHttpOrigin(t, listener)
    const secure = await startHttpsOrigin(t, proxy.originAuthority, 'full.test', listener)
    const all = (name: string): string[] =>
      seen.filter((_value, at) => at % 2 === 1 && seen[at - 1]?.toLowerCase() === name)
    for (const [host, value] of [
      ['other.test', 'any'],
      ['b.example.test', 'below'],
      ['b.a.example.test', 'further below'],
      ['x.a.example.test', 'exact'],
      ['X.A.Example.Test', 'exact'],
      ['www.example.com', 'one more'],
    ] as const) {
      await proxy.curl('-x', 'http://$PROXY', '-H', 'x-rule: mine', `http://${host}:${port}/`)
      t.strictSame(all('x-rule'), [value], host)
    }
    const url = `https://full.test:${secure.port}/`
    await proxy.curl(
      '-x',
      'http://$PROXY',
      '-H',
      'X-Env: prod',
      '-H',
      'authorization: own',
      '-H',
      'X-Forwarded-For: me',
      url,
    )
    t.strictSame(all('authorization'), ['Bearer s3cret'])
    t.strictSame(all('x-forwarded-for'), ['me, proxy.internal'])
    t.strictSame(all('x-new'), ['n'])
    await proxy.curl('-x', 'http://$PROXY', '-H', 'X-Env: test', '-H', 'authorization: own', url)
    t.strictSame(all('authorization'), ['own'], 'a condition that does not hold')
    t.strictSame(all('x-rule'), [], 'only the most specific rule counts')
  },
)
