import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  connect as connectHttp2,
  constants,
  createSecureServer,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type Http2SecureServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Logger } from '../../config/logger.js'
import { silentLogger } from '../../config/logger.js'
import { createLeafIssuer } from '../tls/leaf.js'
import { openTestCache } from './cache-front.js'
import { openRaw, openTls, startHttpOrigin, startHttpsOrigin, startProxy, type TestProxy } from './harness.js'

const MIB = 1024 * 1024

interface Http2Origin {
  readonly port: number
  readonly server: Http2SecureServer
  readonly sessions: ServerHttp2Session[]
}

/** An origin that speaks HTTP/2 only, unless `options` say otherwise. */
async function startHttp2Origin(
  t: Test,
  proxy: TestProxy,
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  options: SecureServerOptions = {},
): Promise<Http2Origin> {
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  const server = createSecureServer({ key: issuer.keyPem, cert: issuer.issue('origin.test'), ...options })
  const sessions: ServerHttp2Session[] = []
  server.on('session', (session) => sessions.push(session))
  server.on('sessionError', () => undefined)
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    onStream(stream, headers)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return { server, sessions, port: (server.address() as AddressInfo).port }
}

/** A client's HTTP/2 connection through CONNECT. */
async function openHttp2(
  t: Test,
  proxy: TestProxy,
  port: number,
  settings: { readonly initialWindowSize?: number } = {},
): Promise<ClientHttp2Session> {
  const target = `origin.test:${port}`
  const raw = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const socket = connectTls({
    socket: raw.socket,
    ca: proxy.caPem,
    servername: 'origin.test',
    ALPNProtocols: ['h2'],
  })
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect')
  t.equal(socket.alpnProtocol, 'h2')
  const session = connectHttp2(`https://${target}`, { createConnection: () => socket, settings })
  session.on('error', () => undefined)
  t.teardown(() => session.destroy())
  return session
}

interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders & IncomingHttpStatusHeader
  readonly body: Buffer
  readonly trailers: IncomingHttpHeaders
  /** 0 for a stream that ended properly. */
  readonly rstCode: number
  /** The body was ended with END_STREAM. */
  readonly ended: boolean
}

/** Reads one answer to its end, whichever end that is. */
async function reply(stream: ClientHttp2Stream): Promise<Reply> {
  let headers: Reply['headers'] = {}
  let trailers: IncomingHttpHeaders = {}
  let ended = false
  const pieces: Buffer[] = []
  stream.on('response', (fields: Reply['headers']) => void (headers = fields))
  stream.on('trailers', (fields: IncomingHttpHeaders) => void (trailers = fields))
  stream.on('data', (piece: Buffer) => pieces.push(piece))
  stream.on('end', () => (ended = true))
  stream.on('error', () => undefined)
  await new Promise((resolve) => stream.once('close', resolve))
  return {
    status: headers[':status'] ?? 0,
    headers,
    body: Buffer.concat(pieces),
    trailers,
    rstCode: stream.rstCode ?? 0,
    ended: ended && stream.rstCode === 0,
  }
}

function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: Buffer): Promise<Reply> {
  const stream = session.request(headers, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  return reply(stream)
}

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

t.test('a body that breaks off is a reset stream, never an end, and other streams live on', async (t) => {
  const proxy = await startProxy(t)
  const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    if (request.url === '/whole') return void response.end('whole')
    response.writeHead(200)
    response.write('part')
    setTimeout(() => response.socket?.destroy(), 30)
  })
  const only = await startHttp2Origin(t, proxy, (stream, headers) => {
    // Or Node's close() says END_STREAM before it says RST_STREAM.
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({}))
    if (headers[':path'] === '/whole') return void stream.end('whole')
    stream.write('part')
    if (headers[':path'] === '/gone') setTimeout(() => stream.session?.destroy(), 30)
    else setTimeout(() => stream.close(Number(headers['x-code'])), 30)
  })
  const first = await openHttp2(t, proxy, old.port)
  t.match(await ask(first, { ':path': '/part' }), { ended: false, rstCode: constants.NGHTTP2_INTERNAL_ERROR })
  t.equal((await ask(first, { ':path': '/whole' })).body.toString(), 'whole')

  const second = await openHttp2(t, proxy, only.port)
  const codes = [constants.NGHTTP2_INTERNAL_ERROR, constants.NGHTTP2_CANCEL, constants.NGHTTP2_REFUSED_STREAM]
  for (const code of codes) {
    const answer = await ask(second, { ':path': '/part', 'x-code': code })
    t.match(answer, { ended: false, rstCode: code }, `code ${code} is passed on`)
    t.equal(answer.body.toString(), 'part')
  }
  for (const path of ['/gone', '/part']) {
    const answer = await ask(second, { ':path': path, 'x-code': constants.NGHTTP2_NO_ERROR })
    t.notOk(answer.ended, `${path}: not ended as if it were whole`)
    t.not(answer.rstCode, 0)
  }
  const curl = await proxy.curl(
    '-x',
    'http://$PROXY',
    '--http1.1',
    '-H',
    'X-Code: 0',
    `https://origin.test:${only.port}/part`,
  )
  t.equal(curl.exitCode, 56, 'a client of HTTP/1.1 is reset')
  t.equal((await ask(second, { ':path': '/whole' })).body.toString(), 'whole')
})

t.test(
  'a client that cancels cancels upstream, uploading or downloading; its connection lives on',
  async (t) => {
    const proxy = await startProxy(t)
    const ended: Promise<unknown>[] = []
    const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
      request.resume()
      ended.push(once(response, 'close'))
      response.writeHead(200)
      response.write('x')
    })
    const codes: (number | undefined)[] = []
    const only = await startHttp2Origin(t, proxy, (stream) => {
      stream.resume()
      ended.push(once(stream, 'close').then(() => codes.push(stream.rstCode)))
      stream.respond({ ':status': 200 })
      stream.write('x')
    })
    for (const port of [old.port, only.port]) {
      const session = await openHttp2(t, proxy, port)
      for (const method of ['GET', 'POST']) {
        const stream = session.request({ ':method': method, ':path': '/' }, { endStream: method === 'GET' })
        stream.on('error', () => undefined)
        if (method === 'POST') stream.write('beginning')
        await once(stream, 'data')
        stream.close(constants.NGHTTP2_CANCEL)
        await ended.at(-1)
      }
      t.notOk(session.destroyed)
    }
    t.strictSame(codes, [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL])
    t.equal(ended.length, 4)
  },
)

t.test('a refused upload is answered and its stream ended, without reading the rest', async (t) => {
  const proxy = await startProxy(t)
  const session = await openHttp2(t, proxy, 9)
  const stream = session.request({ ':method': 'POST', ':path': '/' })
  const answered = reply(stream)
  const chunk = Buffer.alloc(64 * 1024)
  const pump = (): void => {
    while (!stream.destroyed && !stream.writableEnded && stream.write(chunk));
  }
  stream.on('drain', pump)
  pump()
  const answer = await answered
  t.equal(answer.status, 502)
  t.match(answer.body.toString(), /it refuses connections/)
  t.equal(answer.rstCode, 0)
})

t.test('slow readers and slow servers hold the sender back, both ways, and lose nothing', async (t) => {
  const proxy = await startProxy(t)
  const total = 48 * MIB
  const chunk = Buffer.alloc(64 * 1024, 'x')
  let sent = 0
  const upload: { stream?: ServerHttp2Stream } = {}
  const only = await startHttp2Origin(t, proxy, (stream, headers) => {
    if (headers[':method'] === 'POST') {
      upload.stream = stream
      return
    }
    stream.respond({ ':status': 200 })
    const push = (): void => {
      while (sent < total) {
        sent += chunk.length
        if (!stream.write(chunk)) return void stream.once('drain', push)
      }
      stream.end()
    }
    push()
  })
  const still = async (figure: () => number): Promise<void> => {
    for (let before = -1; before !== figure();) {
      before = figure()
      await delay(200)
    }
  }
  const session = await openHttp2(t, proxy, only.port)
  const down = session.request({ ':path': '/' })
  await once(down, 'response')
  await still(() => sent)
  t.ok(sent < 12 * MIB, `${sent} bytes left the origin for a client that reads nothing`)
  let received = 0
  for await (const piece of down) received += (piece as Buffer).length
  t.equal(received, total)

  const up = session.request({ ':method': 'POST', ':path': '/' })
  let written = 0
  let flushed = 0
  const pump = (): void => {
    while (written < total) {
      written += chunk.length
      if (!up.write(chunk, () => (flushed += chunk.length))) return void up.once('drain', pump)
    }
    up.end()
  }
  pump()
  const answer = reply(up)
  await still(() => flushed)
  t.ok(flushed < 12 * MIB, `${flushed} bytes were taken for a server that reads nothing`)
  let arrived = 0
  t.ok(upload.stream)
  for await (const piece of upload.stream ?? []) arrived += (piece as Buffer).length
  t.equal(arrived, total)
  upload.stream?.respond({ ':status': 200 }, { endStream: true })
  t.equal((await answer).status, 200)
})

t.test('a hundred streams at once share one connection each way, and each gets its own', async (t) => {
  const proxy = await startProxy(t)
  const size = 512 * 1024
  const only = await startHttp2Origin(
    t,
    proxy,
    (stream, headers) => {
      stream.respond({ ':status': 200 })
      stream.end(Buffer.alloc(size, headers['x-letter'] as string))
    },
    { maxSessionMemory: 100 },
  )
  const session = await openHttp2(t, proxy, only.port, { initialWindowSize: MIB })
  const letters = Array.from({ length: 100 }, (_, at) => String.fromCharCode(33 + (at % 90)))
  const answers = await Promise.all(
    letters.map((letter) => ask(session, { ':path': '/', 'x-letter': letter })),
  )
  t.ok(answers.every(({ body }, at) => body.equals(Buffer.alloc(size, letters[at]))))
  t.equal(only.sessions.length, 1)
})

t.test(
  'no more streams are opened upstream than it allows; a full connection gets a second one beside it',
  async (t) => {
    const proxy = await startProxy(t)
    const open = new Map<Http2Session | undefined, number>()
    let most = 0
    const only = await startHttp2Origin(
      t,
      proxy,
      (stream) => {
        const { session } = stream
        open.set(session, (open.get(session) ?? 0) + 1)
        most = Math.max(most, ...open.values())
        stream.once('close', () => open.set(session, (open.get(session) ?? 0) - 1))
        stream.respond({ ':status': 200 })
        setTimeout(() => stream.end('ok'), 50)
      },
      { settings: { maxConcurrentStreams: 5 } },
    )
    const session = await openHttp2(t, proxy, only.port)
    t.equal((await ask(session, { ':path': '/' })).status, 200)
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(session, { ':path': '/' })))
    t.ok(answers.every(({ status, body }) => status === 200 && body.toString() === 'ok'))
    t.ok(most <= 5, `${most} at once`)
    t.ok(only.sessions.length > 1)
  },
)

t.test(
  'upstream says GOAWAY, refuses a stream or closes an idle connection: the client does not notice',
  async (t) => {
    const proxy = await startProxy(t)
    let refusals = 0
    const only = await startHttp2Origin(t, proxy, (stream, headers) => {
      if (headers[':path'] === '/refused' && refusals++ < 2) {
        return stream.close(constants.NGHTTP2_REFUSED_STREAM)
      }
      stream.respond({ ':status': 200 })
      if (headers[':path'] === '/leaving') stream.session?.close()
      setTimeout(() => stream.end('ok'), 20)
    })
    const session = await openHttp2(t, proxy, only.port)
    const get = async (path: string): Promise<string> =>
      (await ask(session, { ':path': path })).body.toString()
    t.equal(await get('/leaving'), 'ok', 'what is under way ends as it began')
    t.equal(await get('/'), 'ok')
    t.equal(only.sessions.length, 2)
    t.equal(await get('/refused'), 'ok', 'refused twice, sent again')
    only.sessions[1]?.destroy()
    t.equal(await get('/'), 'ok')
    refusals = -100
    const answer = await ask(session, { ':path': '/refused' })
    t.equal(answer.status, 502)
    t.match(answer.body.toString(), /REFUSED_STREAM/)
    refusals = 0
    const posted = await ask(session, { ':method': 'POST', ':path': '/refused' }, Buffer.from('x'))
    t.equal(posted.status, 502, 'a body that was sent is not sent again')
  },
)

t.test('floods of resets and header bombs end the connection, not the proxy', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', () => undefined)
  const rapid = await openHttp2(t, proxy, port)
  const goneAway = once(rapid, 'goaway')
  for (let at = 0; at < 2_000 && !rapid.destroyed && !rapid.closed; at += 1) {
    const stream = rapid.request({ ':path': '/' })
    stream.on('error', () => undefined)
    stream.close(constants.NGHTTP2_CANCEL)
    if (at % 50 === 0) await delay(1)
  }
  t.ok(
    [constants.NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_INTERNAL_ERROR].includes(
      (await goneAway)[0] as number,
    ),
  )

  const settings = await openHttp2(t, proxy, port)
  const calmed = once(settings, 'goaway')
  for (let at = 0; at < 300 && !settings.closed && !settings.destroyed; at += 1) {
    const acknowledged = new Promise((resolve) =>
      settings.settings({ headerTableSize: 4096 + (at % 2) }, resolve),
    )
    await Promise.race([acknowledged, calmed])
  }
  t.equal((await calmed)[0], constants.NGHTTP2_ENHANCE_YOUR_CALM)

  const bomb = await openHttp2(t, proxy, port)
  const large = await ask(bomb, { ':path': '/', 'x-bomb': 'x'.repeat(80 * 1024) })
  t.equal(large.status, 0)
  t.not(large.rstCode, 0)
  const many = await ask(bomb, {
    ':path': '/',
    ...Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [`x${at}`, ''])),
  })
  t.equal(many.status, 0)
  const origin = await startHttpOrigin(t, (_request, response) => void response.end('alive'))
  t.equal((await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${origin.port}/`)).body, 'alive')
})

t.test(
  'a client that refuses our certificate is named with the setting that lets it pass, in TLS 1.2 and 1.3',
  async (t) => {
    const lines: { host?: string; hint?: string }[] = []
    const logger: Logger = { ...silentLogger, info: (fields: object) => void lines.push(fields) }
    const proxy = await startProxy(t, { logger })
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const named = (): number =>
        lines.filter(({ host, hint }) => host === 'origin.test:1' && hint?.includes('tls.passthrough')).length
      const before = named()
      await proxy.curl(
        ...['-x', 'http://$PROXY', '--capath', '/nowhere', '--cacert', '/etc/ssl/certs/ca-certificates.crt'],
        '--tls-max',
        version.slice(4),
        'https://origin.test:1/',
      )
      t.equal(named(), before + 1, `curl, ${version}`)
      const raw = await openRaw(
        t,
        proxy.port,
        'CONNECT origin.test:1 HTTP/1.1\r\nHost: origin.test:1\r\n\r\n',
      )
      await raw.until(/\r\n\r\n$/)
      raw.socket.removeAllListeners('data')
      const socket = connectTls({
        socket: raw.socket,
        servername: 'origin.test',
        maxVersion: version,
        ca: [],
      })
      await once(socket, 'error')
      raw.socket.destroy()
      await delay(100)
      t.equal(named(), before + 2, `node, ${version}`)
    }
  },
)

t.test('a stop tells clients to go, and waits for the streams that are open', async (t) => {
  const proxy = await startProxy(t)
  const only = await startHttp2Origin(t, proxy, (stream) => {
    stream.respond({ ':status': 200 })
    setTimeout(() => stream.end('whole'), 200)
  })
  const idle = await openHttp2(t, proxy, only.port)
  const busy = await openHttp2(t, proxy, only.port)
  const stream = busy.request({ ':path': '/' })
  const answer = reply(stream)
  await once(stream, 'response')
  const idleGone = once(idle, 'close')
  await proxy.server.stop(5_000)
  await idleGone
  t.match(await answer, { ended: true })
})
