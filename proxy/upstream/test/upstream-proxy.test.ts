import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { Config } from '../../../config/model/config.js'
import {
  openRaw,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  startTcpOrigin,
} from '../../../test/lab/harness.js'
import { ask, openHttp2, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

// Everything goes by the operator's own proxy, and no further than it would go without.

/** Another proxy as the upstream one: a whole one, that opens no TLS. */
async function startParent(t: Test, auth?: Config['proxy']['auth']): Promise<number> {
  const parent = await startProxy(t, {
    passthrough: ['*'],
    ...(auth === undefined ? {} : { auth }),
  })
  return parent.port
}

interface Recorder {
  readonly port: number
  /** The heads of the requests, in their order. */
  readonly heads: string[]
}

/** A proxy that keeps what it was asked for; CONNECT leads to this machine's port whatever the name. */
async function startRecorder(t: Test, answer?: string): Promise<Recorder> {
  const heads: string[] = []
  const port = await startTcpOrigin(t, (client: Socket) => {
    let head = ''
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1')
      if (!head.includes('\r\n\r\n')) return
      client.off('data', onData)
      heads.push(head)
      const [, target] = /^CONNECT \S*:(\d+) /.exec(head) ?? []
      if (answer !== undefined) client.end(answer)
      else if (target === undefined) client.end('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhanded')
      else {
        const server = connect({ port: Number(target), host: '127.0.0.1' })
        server.on('error', () => client.destroy())
        client.on('close', () => server.destroy())
        server.once('connect', () => {
          client.write('HTTP/1.1 200 OK\r\n\r\n')
          client.pipe(server).pipe(client)
        })
      }
    }
    client.on('data', onData)
  })
  return { port, heads }
}

// Names are 192.0.2.7 here: whoever is told that address was told what we had checked.
const ELSEWHERE = { 'origin.test': ['192.0.2.7'], 'tcp.test': ['192.0.2.7'] }

t.test('requests, tunnels and HTTP/2 go through HTTP and SOCKS5 proxies, with credentials', async (t) => {
  const parentPort = await startParent(t, { user: 'me', password: 'p@ss:word', loopback: 'required' })
  for (const scheme of ['http', 'socks5', 'socks5h']) {
    const proxy = await startProxy(t, {
      upstreamProxy: {
        url: `${scheme}://me:\${PASSWORD}@127.0.0.1:${parentPort}`,
        no_proxy: [],
        // One like us looks at the names inside, which an address would not agree with.
        resolve: 'remote',
      },
      secrets: { PASSWORD: { hosts: ['127.0.0.1'], env: 'PASSWORD' } },
      env: { PASSWORD: 'p@ss:word' },
      passthrough: ['passed.test'],
    })
    const plain = await startHttpOrigin(t, (_request, response) => void response.end('plain'))
    const secure = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
      response.end('secure')
    })
    const http2 = await startHttp2Origin(t, proxy, (stream) => {
      stream.respond({ ':status': 200 })
      stream.end('http2')
    })
    const tcp = await startTcpOrigin(t, (socket) => socket.end('banner'))
    const get = (url: string) => proxy.curl('-x', 'http://$PROXY', url)
    t.match(await get(`http://origin.test:${plain.port}/`), { status: 200, body: 'plain' }, scheme)
    t.match(await get(`https://origin.test:${secure.port}/`), { status: 200, body: 'secure' }, scheme)
    const posted = await proxy.curl(
      '-x',
      'http://$PROXY',
      '-d',
      'body',
      `https://origin.test:${secure.port}/`,
    )
    t.match(posted, { status: 200, body: 'secure' })
    const session = await openHttp2(t, proxy, http2.port)
    t.equal((await ask(session, { ':path': '/' })).body.toString(), 'http2')
    for (const host of ['tcp.test', 'passed.test']) {
      const target = `${host}:${tcp}`
      const raw = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
      await raw.until(/banner$/)
      t.pass(`${scheme} ${host}`)
    }
  }
})

t.test('it is told the address that was checked, and where it resolves itself the name', async (t) => {
  const recorder = await startRecorder(t)
  const options = { addresses: ELSEWHERE }
  const url = `http://me:secret@127.0.0.1:${recorder.port}`
  const local = await startProxy(t, { ...options, upstreamProxy: { url } })
  const remote = await startProxy(t, { ...options, upstreamProxy: { url, resolve: 'remote' } })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const target = `http://origin.test:${port}/path`
  t.match(await local.curl('-x', 'http://$PROXY', target), { body: 'reached' })
  t.match(await remote.curl('-x', 'http://$PROXY', target), { body: 'handed' })
  t.match(recorder.heads[0], new RegExp(`^CONNECT 192\\.0\\.2\\.7:${port} HTTP/1\\.1\\r\\n`))
  t.match(recorder.heads[1], new RegExp(`^GET http://origin\\.test:${port}/path HTTP/1\\.1\\r\\n`))
  for (const head of recorder.heads) t.match(head, /\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n/)

  const secure = await startHttpsOrigin(t, remote.originAuthority, 'origin.test', (_request, response) => {
    response.end('secure')
  })
  t.match(await remote.curl('-x', 'http://$PROXY', `https://origin.test:${secure.port}/`), { body: 'secure' })
  t.match(recorder.heads[2], new RegExp(`^CONNECT origin\\.test:${secure.port} HTTP/1\\.1\\r\\n`))
  t.notMatch(recorder.heads[2], /proxy-authorization[\s\S]*proxy-authorization/i)
})

t.test(
  'no_proxy is reached without it, by name, by written address and by what a name leads to',
  async (t) => {
    const recorder = await startRecorder(t)
    const url = `http://127.0.0.1:${recorder.port}`
    const proxy = await startProxy(t, {
      addresses: { ...ELSEWHERE, 'inside.test': ['127.0.0.1'] },
      upstreamProxy: { url, no_proxy: ['near.test', '127.0.0.0/8'] },
    })
    const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
    for (const host of ['near.test', '127.0.0.1', 'inside.test']) {
      t.match(await proxy.curl('-x', 'http://$PROXY', `http://${host}:${port}/`), { body: 'reached' }, host)
    }
    t.equal(recorder.heads.length, 0)
  },
)

t.test('what may not be dialled may not be asked for either', async (t) => {
  const recorder = await startRecorder(t)
  const url = `http://127.0.0.1:${recorder.port}`
  const addresses = { 'evil.test': ['169.254.169.254'], 'private.test': ['10.0.0.1'] }
  const local = await startProxy(t, { addresses, upstreamProxy: { url, no_proxy: [] } })
  const remote = await startProxy(t, { addresses, upstreamProxy: { url, no_proxy: [], resolve: 'remote' } })
  const strict = await startProxy(t, {
    addresses,
    egress: { private: 'deny' },
    upstreamProxy: { url, no_proxy: [], resolve: 'remote' },
  })
  const cases = [
    [local, 'http://evil.test/'],
    [local, 'https://evil.test/'],
    [local, 'http://169.254.169.254/'],
    [local, `http://origin.test:${local.port}/`],
    [remote, 'http://169.254.169.254/'],
    [remote, 'http://metadata.google.internal/'],
    [remote, 'http://localhost/'],
    [remote, 'https://a.localhost/'],
    [remote, `http://127.0.0.1:${remote.port}/`],
    [strict, 'http://private.test/'],
    [strict, 'https://private.test/'],
  ] as const
  for (const [proxy, target] of cases) {
    t.match(await proxy.curl('-x', 'http://$PROXY', target), { status: 403 }, target)
  }
  t.equal(recorder.heads.length, 0, 'nothing was asked for')
})

t.test('what it does not do is said with its reason', async (t) => {
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const answers: readonly (readonly [answer: string, status: number, words: RegExp])[] = [
    [
      'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n',
      502,
      /wants credentials; give them in upstream_proxy\.url/,
    ],
    ['HTTP/1.1 403 Forbidden\r\n\r\n', 502, /does not connect us \(403 Forbidden\).*upstream_proxy\.resolve/],
    ['HTTP/1.1 504 Gateway Timeout\r\n\r\n', 504, /got no answer from there in time/],
    ['SSH-2.0-x\r\n\r\n', 502, /does not speak HTTP/],
    ['', 502, /closed the connection before it had answered/],
  ]
  for (const [answer, status, words] of answers) {
    const recorder = await startRecorder(t, answer)
    const url = `http://127.0.0.1:${recorder.port}`
    const proxy = await startProxy(t, { upstreamProxy: { url, no_proxy: [] } })
    const got = await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`)
    t.match(got, { status, body: words }, JSON.stringify(answer))
  }
  const refusing = await startRecorder(t, 'HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n')
  const handed = await startProxy(t, {
    upstreamProxy: { url: `http://a:secret7@127.0.0.1:${refusing.port}`, no_proxy: [], resolve: 'remote' },
  })
  const got = await handed.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`)
  t.match(got, { status: 502, body: /does not accept those in upstream_proxy\.url \(407 No\)/ })
  t.notMatch(got.body, /secret7/)

  const parentPort = await startParent(t, { user: 'me', password: 'right', loopback: 'required' })
  const wrong: readonly (readonly [url: string, words: RegExp])[] = [
    [`socks5://me:wrong@127.0.0.1:${parentPort}`, /does not accept the credentials/],
    [`socks5://127.0.0.1:${parentPort}`, /wants credentials/],
    ['socks5://127.0.0.1:1', /cannot be reached \(ECONNREFUSED\)/],
    ['http://127.0.0.1:1', /cannot be reached \(ECONNREFUSED\)/],
  ]
  for (const [url, words] of wrong) {
    const proxy = await startProxy(t, { upstreamProxy: { url, no_proxy: [] } })
    t.match(
      await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`),
      { status: 502, body: words },
      url,
    )
  }
})

t.test('SOCKS replies are passed on with their meaning', async (t) => {
  const replies = [
    [2, 502, /does not allow it/],
    [4, 502, /cannot reach that host/],
    [5, 502, /was refused the connection there/],
    [6, 504, /got no answer from there in time/],
    [9, 502, /failed \(reply 9\)/],
  ] as const
  for (const [code, status, words] of replies) {
    const port = await startTcpOrigin(t, (socket) => {
      socket.once('data', () => {
        socket.write(Buffer.from([5, 0]))
        socket.once('data', () => socket.end(Buffer.from([5, code, 0, 1, 0, 0, 0, 0, 0, 0])))
      })
    })
    const proxy = await startProxy(t, { upstreamProxy: { url: `socks5h://127.0.0.1:${port}`, no_proxy: [] } })
    t.match(
      await proxy.curl('-x', 'http://$PROXY', 'http://origin.test/'),
      { status, body: words },
      `reply ${code}`,
    )
  }
})

t.test('one that does not answer is not waited for', async (t) => {
  const port = await startTcpOrigin(t, () => undefined)
  for (const scheme of ['http', 'socks5']) {
    const proxy = await startProxy(t, {
      timeouts: { connect: 300 },
      upstreamProxy: { url: `${scheme}://127.0.0.1:${port}`, no_proxy: [] },
    })
    const got = await proxy.curl('-x', 'http://$PROXY', 'https://origin.test/')
    t.ok(got.status === 502 || got.status === 504, `${scheme}: ${got.status}`)
    t.match(got.body, /the upstream proxy .* (closed|ended)|does not answer in time/)
  }
})

t.test('certificates are verified through it as without', async (t) => {
  const parentPort = await startParent(t)
  const proxy = await startProxy(t, {
    upstreamProxy: { url: `http://127.0.0.1:${parentPort}`, no_proxy: [], resolve: 'remote' },
  })
  const other = await startProxy(t)
  const stranger = await startHttpsOrigin(t, other.originAuthority, 'origin.test', (_request, response) => {
    response.end('not to be seen')
  })
  for (const version of ['--http1.1', '--http2']) {
    const got = await proxy.curl('-x', 'http://$PROXY', version, `https://origin.test:${stranger.port}/`)
    t.match(got, { status: 502, body: /cannot trust origin\.test/ }, version)
  }
})

t.test('a request never goes round in circles', async (t) => {
  // Each is told of the other once both have a port.
  const [one, two] = [await startProxy(t), await startProxy(t)]
  const { resolveSecrets } = await import('../../credentials/secrets.js')
  const { createSecureContext } = await import('node:tls')
  const secrets = await resolveSecrets({}, {})
  const by = (proxy: typeof one, port: number, resolve: 'local' | 'remote'): void =>
    proxy.server.reconfigure({
      config: { ...proxy.config, upstream_proxy: { url: `http://127.0.0.1:${port}`, no_proxy: [], resolve } },
      secrets,
      trust: createSecureContext(),
    })
  by(one, two.port, 'remote')
  by(two, one.port, 'remote')
  const round = await one.curl('-x', 'http://$PROXY', 'http://origin.test/')
  t.match(round, { status: 508, body: /has come through this proxy before/ })
  by(one, one.port, 'local')
  t.match(await one.curl('-x', 'http://$PROXY', 'http://origin.test/'), {
    status: 508,
    body: /is this proxy itself/,
  })
  const chained = await startProxy(t)
  by(two, chained.port, 'remote')
  const { port } = await startHttpOrigin(t, (request, response) => void response.end(request.headers.via))
  const { body } = await two.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`)
  t.match(body, /^1\.1 discobot-[0-9a-f]{8}, 1\.1 discobot-[0-9a-f]{8}$/, 'one behind another is no circle')
})
