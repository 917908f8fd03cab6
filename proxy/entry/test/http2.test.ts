import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createSecureServer, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { createLeafIssuer } from '../../tls/leaf.js'
import { openTestCache } from '../../../test/lab/cache-front.js'
import { openRaw, openTls, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'
import { ask, openHttp2, reply, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

const MIB = 1024 * 1024

t.test('curl --http2 gets what it would get by HTTP/1.1, whatever upstream speaks', async (t) => {
  const proxy = await startProxy(t)
  const body = randomBytes(300_000)
  const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    const hash = createHash('sha256')
    request.on('data', (chunk: Buffer) => hash.update(chunk))
    request.on('end', () => {
      response.writeHead(201, { 'X-Upstream': request.httpVersion, 'X-Hash': hash.digest('hex') })
      response.end(body)
    })
  })
  const only = await startHttp2Origin(t, proxy, (stream) => {
    const hash = createHash('sha256')
    stream.on('data', (chunk: Buffer) => hash.update(chunk))
    stream.on('end', () => {
      stream.respond({ ':status': 201, 'x-upstream': '2.0', 'x-hash': hash.digest('hex') })
      stream.end(body)
    })
  })
  const hash = createHash('sha256').update('posted').digest('hex')
  for (const [port, upstream] of [
    [old.port, '1.1'],
    [only.port, '2.0'],
  ] as const) {
    for (const version of ['--http2', '--http1.1']) {
      const { status, body: head } = await proxy.curl(
        ...['-x', 'http://$PROXY', version, '-D', '-', '-o', '/dev/null', '-d', 'posted'],
        `https://origin.test:${port}/a%20b?c`,
      )
      t.equal(status, 201, `${version} to ${upstream}`)
      t.match(head.toLowerCase(), `x-upstream: ${upstream}`)
      t.match(head.toLowerCase(), `x-hash: ${hash}`)
      t.match(head, version === '--http2' ? /HTTP\/2 201/ : /HTTP\/1\.1 201/)
    }
  }
})

t.test(
  'HTTP/2 upstream is for clients of HTTP/2; others are served by HTTP/1.1 where it is offered',
  async (t) => {
    const proxy = await startProxy(t)
    const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
    const server = createSecureServer({
      key: issuer.keyPem,
      cert: issuer.issue('origin.test'),
      allowHTTP1: true,
    })
    server.on('request', (request, response) => void response.end(request.httpVersion))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const url = `https://origin.test:${(server.address() as AddressInfo).port}/`
    t.equal((await proxy.curl('-x', 'http://$PROXY', '--http1.1', url)).body, '1.1')
    t.equal((await proxy.curl('-x', 'http://$PROXY', '--http2', url)).body, '2.0')
  },
)

t.test('a connection made for HTTP/2 to a server without it serves the request that asked', async (t) => {
  const proxy = await startProxy(t)
  const { port, server } = await startHttpsOrigin(
    t,
    proxy.originAuthority,
    'origin.test',
    (_request, response) => void response.end('ok'),
  )
  let connections = 0
  server.on('connection', () => (connections += 1))
  const session = await openHttp2(t, proxy, port)
  for (let turn = 0; turn < 3; turn += 1) {
    t.equal((await ask(session, { ':path': '/' })).body.toString(), 'ok')
  }
  t.equal(connections, 1)
})

t.test('headers are translated: case, connection fields, cookies, te, host', async (t) => {
  const proxy = await startProxy(t, {
    headers: { 'origin.test': { set: { 'X-Injected': 'yes' }, append: {}, conditions: [] } },
  })
  let seen: readonly string[] = []
  const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    seen = request.rawHeaders
    response.writeHead(
      200,
      ['Connection', 'x-gone', 'X-Gone', '1', 'Keep-Alive', '5', 'X-Kept', '1'].concat([
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        '__proto__',
        'p',
      ]),
    )
    response.end('ok')
  })
  const session = await openHttp2(t, proxy, old.port)
  const fields = { ':path': '/', cookie: ['a=1', 'b=2'], te: 'trailers', 'x-two': ['1', '2'] }
  const answer = await ask(session, fields)
  t.equal(answer.status, 200)
  t.strictSame(answer.headers['set-cookie'], ['a=1', 'b=2'])
  t.equal(answer.headers['x-kept'], '1')
  t.equal(answer.headers['x-gone'], undefined)
  t.equal(answer.headers['keep-alive'], undefined)
  const of = (name: string): string[] =>
    seen.filter((_value, at) => at % 2 === 1 && seen[at - 1]?.toLowerCase() === name)
  t.strictSame(of('cookie'), ['a=1; b=2'])
  t.strictSame(of('host'), [`origin.test:${old.port}`])
  t.strictSame(of('te'), [])
  t.strictSame(of('x-two'), ['1', '2'])
  t.strictSame(of('x-injected'), ['yes'])

  let got: IncomingHttpHeaders = {}
  const only = await startHttp2Origin(t, proxy, (stream, headers) => {
    got = headers
    stream.respond({ ':status': 200 }, { endStream: true })
  })
  const modern = await openHttp2(t, proxy, only.port)
  t.equal((await ask(modern, fields)).status, 200)
  t.equal(got[':authority'], `origin.test:${only.port}`)
  t.equal(got['host'], undefined)
  t.equal(got['te'], 'trailers')
  t.equal(got.cookie, 'a=1; b=2')
  t.equal(got['x-injected'], 'yes')
})

t.test(
  'one authority: another name on the connection is answered with 421, and the connection goes on',
  async (t) => {
    const proxy = await startProxy(t)
    const { port } = await startHttpsOrigin(
      t,
      proxy.originAuthority,
      'origin.test',
      (_request, response) => void response.end('reached'),
    )
    const session = await openHttp2(t, proxy, port)
    const own = `origin.test:${port}`
    const cases: readonly [OutgoingHttpHeaders, number][] = [
      [{ ':authority': own }, 200],
      [{ ':authority': `ORIGIN.test.:${port}` }, 200],
      [{ ':authority': own, host: own }, 200],
      [{ ':authority': 'other.test' }, 421],
      [{ ':authority': 'origin.test' }, 421],
      [{ ':authority': own, host: 'other.test' }, 421],
      [{ ':authority': own, ':scheme': 'http' }, 421],
      [{ ':authority': 'origin.test:99999' }, 400],
    ]
    for (const [headers, status] of cases) {
      const answer = await ask(session, { ':path': '/', ...headers })
      t.equal(answer.status, status, JSON.stringify(headers))
      if (status !== 200) t.match(answer.headers['proxy-status'], /discobot; error=http_request_/)
    }
    const connect = await ask(session, { ':method': 'CONNECT', ':authority': own })
    t.equal(connect.status, 405)
    t.equal(session.remoteSettings.enableConnectProtocol ?? false, false, 'RFC 8441 is not offered')
    t.equal((await ask(session, { ':path': '/' })).status, 200)
  },
)

t.test('the policy is asked and the cache answers, as by HTTP/1.1', async (t) => {
  const cache = await openTestCache(t.testdir())
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { cache, blocklist: { domains: ['bad.test'], ips: [] } })
  let asked = 0
  const body = randomBytes(3 * MIB)
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    asked += 1
    response.writeHead(200, { 'Content-Length': body.length })
    response.end(body)
  })
  const session = await openHttp2(t, proxy, port)
  for (const expected of ['MISS', 'HIT', 'HIT']) {
    const answer = await ask(session, { ':path': '/plain/a' })
    t.equal(answer.headers['x-cache'], expected)
    t.ok(answer.body.equals(body))
  }
  const part = await ask(session, { ':path': '/plain/a', range: 'bytes=5-9' })
  t.equal(part.status, 206)
  t.ok(part.body.equals(body.subarray(5, 10)))
  const head = await ask(session, { ':method': 'HEAD', ':path': '/plain/a' })
  t.equal(head.headers['content-length'], String(body.length))
  t.equal(asked, 1)
  const blocked = await proxy.curl('-x', 'http://$PROXY', '--http2', '-D', '-', 'https://bad.test/')
  t.equal(blocked.status, 403)
  t.match(blocked.body, /HTTP\/2 403[\s\S]*blocklist\.domains has/)
})

t.test('HEAD, 204, 304, trailers and 1xx are exact, from either upstream', async (t) => {
  const proxy = await startProxy(t)
  const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    switch (request.url) {
      case '/head':
        return void response.writeHead(200, { 'Content-Length': 12345 }).end()
      case '/204':
        return void response.writeHead(204).end()
      case '/304':
        return void response.writeHead(304, { ETag: '"x"' }).end()
      case '/hints':
        response.writeEarlyHints({ link: '</a.css>; rel=preload', 'x-hint': 'h' })
        return void response.end('hinted')
      default:
        response.writeHead(200, { Trailer: 'X-Sum' })
        response.write('body')
        response.addTrailers({ 'X-Sum': 'four' })
        response.end()
    }
  })
  const only = await startHttp2Origin(t, proxy, (stream, headers) => {
    switch (headers[':path']) {
      case '/head':
        return stream.respond({ ':status': 200, 'content-length': 12345 })
      case '/204':
        return stream.respond({ ':status': 204 })
      case '/304':
        return stream.respond({ ':status': 304, etag: '"x"' })
      case '/hints':
        stream.additionalHeaders({ ':status': 103, link: '</a.css>; rel=preload', 'x-hint': 'h' })
        stream.respond({ ':status': 200 })
        return void stream.end('hinted')
      default:
        stream.respond({ ':status': 200 }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'four' }))
        stream.end('body')
    }
  })
  for (const port of [old.port, only.port]) {
    const session = await openHttp2(t, proxy, port)
    const head = await ask(session, { ':method': 'HEAD', ':path': '/head' })
    t.match(head, { status: 200, ended: true, headers: { 'content-length': '12345' } })
    t.match(await ask(session, { ':path': '/204' }), { status: 204, ended: true })
    t.match(await ask(session, { ':path': '/304' }), { status: 304, ended: true, headers: { etag: '"x"' } })
    const whole = await ask(session, { ':path': '/trailers' })
    t.equal(whole.body.toString(), 'body')
    t.match(whole, { ended: true, trailers: { 'x-sum': 'four' } })

    const stream = session.request({ ':path': '/hints' })
    const hint = once(stream, 'headers') as Promise<[IncomingHttpHeaders]>
    const [[hints], hinted] = await Promise.all([hint, reply(stream)])
    t.match(hints, { ':status': 103, link: '</a.css>; rel=preload', 'x-hint': 'h' })
    t.equal(hinted.body.toString(), 'hinted')

    const tls = await openTls(t, proxy, `origin.test:${port}`, 'origin.test')
    const request = (path: string): string =>
      `GET ${path} HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`
    tls.socket.write(request('/trailers'))
    t.match((await tls.closed()).text, /4\r\nbody\r\n0\r\n(x-sum|X-Sum): four\r\n\r\n$/)
  }
})

t.test(
  '103 Early Hints reach a client of HTTP/1.1 with all their headers; one of HTTP/1.0 gets none',
  async (t) => {
    const proxy = await startProxy(t)
    const { port } = await startHttpOrigin(t, (_request, response) => {
      response.socket?.write('HTTP/1.1 102 Processing\r\n\r\n')
      response.socket?.write(
        'HTTP/1.1 103 Early Hints\r\nLink: </a.css>;rel=preload;x=1\r\nLink: nonsense\r\nX-Hint: a\r\n\r\n',
      )
      response.end('done')
    })
    const get = async (version: string): Promise<string> => {
      const raw = await openRaw(
        t,
        proxy.port,
        `GET http://origin.test:${port}/ HTTP/${version}\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`,
      )
      return (await raw.closed()).text
    }
    t.match(
      await get('1.1'),
      /^HTTP\/1\.1 102 Processing\r\n\r\nHTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>;rel=preload;x=1\r\nLink: nonsense\r\nX-Hint: a\r\n\r\nHTTP\/1\.1 200 OK\r\n/,
    )
    t.match(await get('1.0'), /^HTTP\/1\.1 200 OK\r\n/)
  },
)
