import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { openRaw, openTls, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'

/** The ways a request of HTTP/1.1 can reach the proxy. */
const WAYS = {
  'plain HTTP': { secure: false, args: ['-x', 'http://$PROXY'] },
  'HTTP inside CONNECT': { secure: false, args: ['-p', '-x', 'http://$PROXY'] },
  'TLS inside CONNECT': { secure: true, args: ['--http1.1', '-x', 'http://$PROXY'] },
  'HTTP inside SOCKS5': { secure: false, args: ['-x', 'socks5h://$PROXY'] },
  'TLS inside SOCKS5': { secure: true, args: ['--http1.1', '-x', 'socks5h://$PROXY'] },
} as const

t.test('a request and its answer pass unchanged, whichever way they come', async (t) => {
  const proxy = await startProxy(t)
  const body = randomBytes(300_000)
  const listener = (
    request: import('node:http').IncomingMessage,
    response: import('node:http').ServerResponse,
  ): void => {
    const hash = createHash('sha256')
    request.on('data', (chunk: Buffer) => hash.update(chunk))
    request.on('end', () => {
      response.writeHead(201, 'Made It', {
        'X-Seen': `${request.method} ${request.url}`,
        'X-Hash': hash.digest('hex'),
      })
      response.end(body)
    })
  }
  const plain = await startHttpOrigin(t, listener)
  const secure = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', listener)
  for (const [name, way] of Object.entries(WAYS)) {
    await t.test(name, async (t) => {
      const url = way.secure ? `https://origin.test:${secure.port}` : `http://origin.test:${plain.port}`
      const { body: head, status } = await proxy.curl(
        ...way.args,
        '-D',
        '-',
        '-o',
        '/dev/null',
        '-d',
        'posted',
        `${url}/a%20b?c=d&e`,
      )
      t.equal(status, 201)
      t.match(head, /HTTP\/1\.1 201 Made It/)
      t.match(head, /X-Seen: POST \/a%20b\?c=d&e/)
      t.match(head, `X-Hash: ${createHash('sha256').update('posted').digest('hex')}`)
      t.match(head, /Content-Length: 300000|Transfer-Encoding: chunked/)
    })
  }
})

t.test(
  'headers keep case, order and repeats; hop-by-hop ones and those Connection names stay here',
  async (t) => {
    const proxy = await startProxy(t)
    let seen: string[] = []
    const { port } = await startHttpOrigin(t, (request, response) => {
      seen = request.rawHeaders
      response.writeHead(200, [
        'X-One',
        '1',
        'x-TWO',
        '2',
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        'Connection',
        'x-secret',
        'X-Secret',
        's',
      ])
      response.end('ok')
    })
    const raw = await openRaw(
      t,
      proxy.port,
      `GET http://origin.test:${port}/ HTTP/1.1\r\nhOsT: origin.test:${port}\r\nX-b: 1\r\nX-A: 2\r\nX-b: 3\r\n` +
        'Connection: close, X-Private\r\nX-Private: p\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\n\r\n',
    )
    const { text } = await raw.closed()
    t.strictSame(seen.slice(0, 8), ['hOsT', `origin.test:${port}`, 'X-b', '1', 'X-A', '2', 'X-b', '3'])
    const names = seen.filter((_value, at) => at % 2 === 0).map((name) => name.toLowerCase())
    for (const name of ['x-private', 'keep-alive', 'proxy-authorization', 'te'])
      t.notOk(names.includes(name), name)
    t.ok(names.includes('via'))
    t.match(text, /X-One: 1\r\nx-TWO: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n/)
    t.notMatch(text, /X-Secret/)
  },
)

t.test(
  'a sized body stays sized, a chunked one chunked with its trailers, HEAD 204 and 304 are exact',
  async (t) => {
    const proxy = await startProxy(t)
    const { port } = await startHttpOrigin(t, (request, response) => {
      switch (request.url) {
        case '/sized':
          return void response.writeHead(200, { 'Content-Length': 5 }).end('12345')
        case '/chunked':
          response.writeHead(200, { Trailer: 'X-Sum' })
          response.write('123')
          response.addTrailers({ 'X-Sum': 'six' })
          return void response.end('45')
        case '/head':
          return void response.writeHead(200, { 'Content-Length': 12345, ETag: '"x"' }).end()
        case '/304':
          return void response.writeHead(304, { ETag: '"x"' }).end()
        default:
          return void response.writeHead(204).end()
      }
    })
    const ask = async (method: string, path: string): Promise<string> => {
      const raw = await openRaw(
        t,
        proxy.port,
        `${method} http://origin.test:${port}${path} HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`,
      )
      return (await raw.closed()).text
    }
    t.match(await ask('GET', '/sized'), /Content-Length: 5\r\n[\s\S]*\r\n\r\n12345$/)
    t.match(
      await ask('GET', '/chunked'),
      /Transfer-Encoding: chunked\r\n[\s\S]*(3\r\n123\r\n2\r\n45|5\r\n12345)\r\n0\r\nX-Sum: six\r\n\r\n$/,
    )
    t.match(await ask('HEAD', '/head'), /Content-Length: 12345\r\n[\s\S]*\r\n\r\n$/)
    t.match(await ask('GET', '/304'), /^HTTP\/1\.1 304 Not Modified\r\n[\s\S]*\r\n\r\n$/)
    t.match(await ask('DELETE', '/204'), /^HTTP\/1\.1 204 No Content\r\n[\s\S]*\r\n\r\n$/)
  },
)

t.test("Expect: 100-continue is upstream's to answer", async (t) => {
  const proxy = await startProxy(t)
  const { server, port } = await startHttpOrigin(t, (_request, response) => void response.end('unexpected'))
  server.on('checkContinue', (request, response) => {
    if (request.url === '/no') return void response.writeHead(417).end()
    response.writeContinue()
    request.on('data', () => undefined).on('end', () => void response.writeHead(200).end('taken'))
  })
  const head = (path: string): string =>
    `POST http://origin.test:${port}${path} HTTP/1.1\r\nHost: origin.test:${port}\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n`
  const yes = await openRaw(t, proxy.port, head('/yes'))
  await yes.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
  yes.socket.write('body')
  t.match((await yes.closed()).text, /HTTP\/1\.1 200 OK[\s\S]*taken/)
  const no = await openRaw(t, proxy.port, head('/no'))
  t.match((await no.closed()).text, /^HTTP\/1\.1 417 /)
})

t.test(
  'an upstream that breaks off mid-body resets the client, never ends the part as if it were whole',
  async (t) => {
    const proxy = await startProxy(t)
    const listener = (
      request: import('node:http').IncomingMessage,
      response: import('node:http').ServerResponse,
    ): void => {
      if (request.url === '/sized') response.writeHead(200, { 'Content-Length': 1000 })
      else response.writeHead(200)
      response.write('part')
      setTimeout(() => response.socket?.destroy(), 30)
    }
    const plain = await startHttpOrigin(t, listener)
    const secure = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', listener)
    for (const [name, way] of Object.entries(WAYS)) {
      for (const path of ['/sized', '/chunked']) {
        const url = way.secure ? `https://origin.test:${secure.port}` : `http://origin.test:${plain.port}`
        const { exitCode, body } = await proxy.curl(...way.args, url + path)
        t.equal(body, 'part')
        t.equal(exitCode, 56, `${name}${path}: curl saw the connection fail`)
      }
    }
  },
)

t.test('a client that leaves ends the upstream request, uploading or downloading', async (t) => {
  const proxy = await startProxy(t)
  const ended: Record<string, Promise<unknown>> = {}
  const { server, port } = await startHttpOrigin(t, (request, response) => {
    ended[request.url ?? ''] = once(response, 'close')
    if (request.url === '/down') {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'.repeat(1000)), 5)
      response.once('close', () => clearInterval(timer))
    }
    request.resume()
    server.emit(`seen ${request.url}`)
  })
  const down = await openRaw(
    t,
    proxy.port,
    `GET http://origin.test:${port}/down HTTP/1.1\r\nHost: origin.test:${port}\r\n\r\n`,
  )
  await down.until(/x{1000}/)
  down.socket.destroy()
  await ended['/down']

  const uploadSeen = once(server, 'seen /up')
  const up = await openRaw(
    t,
    proxy.port,
    `PUT http://origin.test:${port}/up HTTP/1.1\r\nHost: origin.test:${port}\r\nContent-Length: 1000000\r\n\r\nabc`,
  )
  await uploadSeen
  up.socket.destroy()
  await ended['/up']
  t.pass('both upstream requests ended')
})

t.test('a slow reader holds upstream back instead of filling memory', async (t) => {
  const proxy = await startProxy(t)
  const total = 64 * 1024 * 1024
  let sent = 0
  const { port } = await startHttpOrigin(t, (_request, response) => {
    response.writeHead(200, { 'Content-Length': total })
    const chunk = Buffer.alloc(64 * 1024, 'x')
    const push = (): void => {
      while (sent < total) {
        sent += chunk.length
        if (!response.write(chunk)) return void response.once('drain', push)
      }
      response.end()
    }
    push()
  })
  const client = httpRequest({
    host: '127.0.0.1',
    port: proxy.port,
    path: `http://origin.test:${port}/`,
    headers: { Host: `origin.test:${port}` },
  })
  client.end()
  const [response] = (await once(client, 'response')) as [import('node:http').IncomingMessage]
  // Until upstream has been still for a while: then all buffers on the way are full.
  for (let before = -1; before !== sent;) {
    before = sent
    await delay(200)
  }
  t.ok(sent < 24 * 1024 * 1024, `${sent} bytes left the origin for a client that reads nothing`)
  let received = 0
  for await (const chunk of response) received += (chunk as Buffer).length
  t.equal(received, total)
})

t.test('one authority: what disagrees with the connection is answered with 421 and a reason', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpsOrigin(
    t,
    proxy.originAuthority,
    'origin.test',
    (_request, response) => void response.end('reached'),
  )
  const ask = async (serverName: string | undefined, request: string): Promise<string> => {
    const client = await openTls(t, proxy, `origin.test:${port}`, serverName)
    client.socket.write(request)
    return (await client.closed()).text
  }
  const end = 'Connection: close\r\n\r\n'
  t.match(
    await ask('origin.test', `GET / HTTP/1.1\r\nHost: origin.test:${port}\r\n${end}`),
    /^HTTP\/1\.1 200 /,
  )
  t.match(
    await ask('ORIGIN.test', `GET / HTTP/1.1\r\nHost: Origin.Test.:${port}\r\n${end}`),
    /^HTTP\/1\.1 200 /,
  )
  t.match(
    await ask(`origin.test:${port}`, `GET / HTTP/1.1\r\nHost: origin.test:${port}\r\n${end}`),
    /^HTTP\/1\.1 200 /,
    'a server name with the right port, as some clients send it',
  )
  t.match(
    await ask('origin.test:1', `GET / HTTP/1.1\r\nHost: origin.test:${port}\r\n${end}`),
    /^HTTP\/1\.1 421 /,
  )
  t.match(await ask(undefined, `GET / HTTP/1.1\r\nHost: origin.test:${port}\r\n${end}`), /^HTTP\/1\.1 200 /)
  t.match(
    await ask('origin.test', `GET / HTTP/1.1\r\nHost: other.test:${port}\r\n${end}`),
    /^HTTP\/1\.1 421 [\s\S]*Host header "other\.test/,
  )
  t.match(await ask('origin.test', `GET / HTTP/1.1\r\nHost: origin.test\r\n${end}`), /^HTTP\/1\.1 421 /)
  t.match(
    await ask('other.test', `GET / HTTP/1.1\r\nHost: origin.test:${port}\r\n${end}`),
    /^HTTP\/1\.1 421 [\s\S]*TLS server name "other\.test"/,
  )
  t.match(
    await ask(
      'origin.test',
      `GET https://other.test:${port}/ HTTP/1.1\r\nHost: origin.test:${port}\r\n${end}`,
    ),
    /^HTTP\/1\.1 421 [\s\S]*request URI/,
  )
  t.match(
    await ask('origin.test', `GET / HTTP/1.1\r\nHost: origin.test:${port}\r\nHost: other.test\r\n${end}`),
    /^HTTP\/1\.1 400 /,
  )
  const plain = await openRaw(
    t,
    proxy.port,
    `GET http://origin.test:${port}/ HTTP/1.1\r\nHost: other.test\r\n${end}`,
  )
  t.match((await plain.closed()).text, /^HTTP\/1\.1 502 /, 'the URI counts: what listens there speaks TLS')
})

t.test('every failure to reach upstream has its status, a sentence and Proxy-Status', async (t) => {
  const proxy = await startProxy(t)
  const other = await startProxy(t)
  const plain = await startHttpOrigin(t, (request) => request.socket.destroy())
  const untrusted = await startHttpsOrigin(
    t,
    other.originAuthority,
    'origin.test',
    (_request, response) => void response.end(),
  )
  const misnamed = await startHttpsOrigin(
    t,
    proxy.originAuthority,
    'other.test',
    (_request, response) => void response.end(),
  )
  const cases: readonly [url: string, status: number, sentence: RegExp][] = [
    [`http://origin.test:${plain.port}/`, 502, /it closed the connection \(ECONNRESET\)/],
    ['http://origin.test:9/', 502, /cannot reach origin\.test:9: it refuses connections \(ECONNREFUSED\)/],
    [
      `https://origin.test:${untrusted.port}/`,
      502,
      /cannot trust origin\.test:\d+: .* add its CA to tls\.upstream_ca/,
    ],
    [
      `https://origin.test:${misnamed.port}/`,
      502,
      /cannot trust origin\.test:\d+: .*ERR_TLS_CERT_ALTNAME_INVALID/,
    ],
    [`https://origin.test:${plain.port}/`, 502, /cannot speak TLS with origin\.test|cannot reach/],
    ['http://169.254.169.254/latest/meta-data', 403, /never dialled/],
    [`http://127.0.0.1:${proxy.port}/`, 403, /is this proxy itself/],
  ]
  for (const [url, status, sentence] of cases) {
    const answer = await proxy.curl('--http1.1', '-x', 'http://$PROXY', '-D', '-', url)
    t.equal(answer.status, status, url)
    t.match(answer.body, sentence, url)
    t.match(answer.body, /Proxy-Status: discobot; error=[a-z_]+; details="/, url)
  }
})

t.test('a name is judged by the addresses it has, and only a checked one is dialled', async (t) => {
  const proxy = await startProxy(t, {
    addresses: {
      'rebound.test': ['169.254.169.254'],
      'mixed.test': ['169.254.169.254', '127.0.0.1'],
      'self.test': ['127.0.0.1'],
    },
  })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  t.match(await proxy.curl('-x', 'http://$PROXY', `http://rebound.test:${port}/`), {
    status: 403,
    body: /never dialled/,
  })
  t.match(await proxy.curl('-x', 'http://$PROXY', `http://mixed.test:${port}/`), {
    status: 200,
    body: 'reached',
  })
  t.match(await proxy.curl('-x', 'http://$PROXY', `http://self.test:${proxy.port}/`), {
    status: 403,
    body: /this proxy itself/,
  })
})

t.test("a connection upstream closed while it was idle is not the client's problem", async (t) => {
  const proxy = await startProxy(t)
  let connections = 0
  const { server, port } = await startHttpOrigin(t, (request, response) => {
    // The server says it keeps the connection, and closes it as soon as the next request arrives on it.
    if (request.headers['x-turn'] === '2' && connections === 1) request.socket.destroy()
    else response.end('ok')
  })
  server.on('connection', () => (connections += 1))
  t.equal((await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`)).body, 'ok')
  t.equal(
    (await proxy.curl('-x', 'http://$PROXY', '-H', 'X-Turn: 2', `http://origin.test:${port}/`)).body,
    'ok',
  )
  t.equal(connections, 2)
})
