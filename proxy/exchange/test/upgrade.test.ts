import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { takeBytes } from '../../socket/take-bytes.js'
import { bodySource } from '../upgrade.js'
import { openRaw, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'

t.test('a WebSocket passes with its subprotocol, both ways, in TLS and out of it', async (t) => {
  const proxy = await startProxy(t)
  const plain = await startHttpOrigin(t, (_request, response) => void response.end())
  const secure = await startHttpsOrigin(
    t,
    proxy.originAuthority,
    'ws.test',
    (_request, response) => void response.end(),
  )
  for (const { server, port } of [plain, secure]) {
    const sockets = new WebSocketServer({ server, handleProtocols: (offered) => [...offered][1] ?? false })
    sockets.on('connection', (socket) =>
      socket.on('message', (data, binary) => socket.send(data, { binary })),
    )
    const tunnel = await openRaw(
      t,
      proxy.port,
      `CONNECT ws.test:${port} HTTP/1.1\r\nHost: ws.test:${port}\r\n\r\n`,
    )
    await tunnel.until(/\r\n\r\n$/)
    tunnel.socket.removeAllListeners('data')
    const isSecure = port === secure.port
    const client = new WebSocket(`${isSecure ? 'wss' : 'ws'}://ws.test:${port}/chat`, ['one', 'two'], {
      createConnection: () =>
        isSecure
          ? connectTls({ socket: tunnel.socket, servername: 'ws.test', ca: proxy.caPem })
          : tunnel.socket,
    })
    await once(client, 'open')
    t.equal(client.protocol, 'two')
    const big = randomBytes(500_000)
    client.send(big)
    const [echoed] = (await once(client, 'message')) as [Buffer]
    t.ok(big.equals(echoed))
    client.close(4321, 'bye')
    const [code] = (await once(client, 'close')) as [number]
    t.equal(code, 4321)
    sockets.close()
  }
})

t.test('any other protocol can be switched to, with bytes that came along', async (t) => {
  const proxy = await startProxy(t)
  const { server, port } = await startHttpOrigin(t, (_request, response) => void response.end())
  server.on('upgrade', (request, socket, head) => {
    socket.write(
      `HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: ${request.headers.upgrade}\r\nX-Mine: 1\r\n\r\nfirst `,
    )
    socket.write(head)
    socket.pipe(socket)
  })
  const client = await openRaw(
    t,
    proxy.port,
    `POST http://origin.test:${port}/attach HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly`,
  )
  await client.until(
    /^HTTP\/1\.1 101 UPGRADED\r\nX-Mine: 1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst early$/,
  )
  client.socket.write(' late')
  await client.until(/first early late$/)
  client.socket.end()
  await client.closed()
})

t.test('a request that asks to switch may have a body, as docker exec sends its options', async (t) => {
  const proxy = await startProxy(t)
  const options = '{"Detach":false,"Tty":false}'
  const { server, port } = await startHttpOrigin(t, (_request, response) => void response.end())
  server.on('upgrade', (request, socket, head) => {
    socket.unshift(head)
    void takeBytes(bodySource(request, socket), Number(request.headers['content-length']), 10_000).then(
      (body) => {
        socket.write(`HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n${String(body)} `)
        socket.pipe(socket)
      },
    )
  })
  const head = `POST http://origin.test:${port}/exec HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: ${options.length}\r\n\r\n`
  for (const cuts of [[], [head.length], [head.length, head.length + 5]]) {
    const client = await openRaw(t, proxy.port)
    const whole = `${head}${options}early`
    for (const [at, cut] of [0, ...cuts].entries()) {
      client.socket.write(whole.slice(cut, cuts[at] ?? whole.length))
      // Each in a packet of its own, as a rule.
      await new Promise((resolve) => setImmediate(resolve))
    }
    await client.until(/"Tty":false\} early$/)
    client.socket.write(' late')
    t.match(await client.until(/late$/), /\r\n\r\n\{"Detach":false,"Tty":false\} early late$/)
    client.socket.end()
    await client.closed()
  }
  const client = await openRaw(t, proxy.port, `${head}{"De`)
  client.socket.end()
  // Node 26, which reads the body, ends the connection of a client that ended it early; before that we say so.
  t.match((await client.closed()).text, /^(HTTP\/1\.1 400 [\s\S]*its body ended early[\s\S]*)?$/)
})

t.test('a request that asks to switch and keeps its body back is not waited for', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 300 } })
  const client = await openRaw(
    t,
    proxy.port,
    'POST http://origin.test:9/ HTTP/1.1\r\nHost: origin.test:9\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 9\r\n\r\nhalf',
  )
  t.match((await client.closed()).text, /^HTTP\/1\.1 408 [\s\S]*nothing came or went for 0\.3 s/)
})

t.test(
  'an upgrade upstream declines is answered as usual, and the connection carries nothing more',
  async (t) => {
    const proxy = await startProxy(t)
    const paths: string[] = []
    const { port } = await startHttpOrigin(t, (request, response) => {
      paths.push(request.url ?? '')
      response.writeHead(426, { 'Content-Length': 2 }).end('no')
    })
    const client = await openRaw(
      t,
      proxy.port,
      `GET http://origin.test:${port}/ws HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n` +
        `GET http://origin.test:${port}/smuggled HTTP/1.1\r\nHost: origin.test:${port}\r\n\r\n`,
    )
    t.match((await client.closed()).text, /^HTTP\/1\.1 426 [\s\S]*no$/)
    t.strictSame(paths, ['/ws'])
  },
)

t.test('h2c is not offered on: the answer is HTTP/1.1', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(
    t,
    (request, response) => void response.end(`upgrade=${request.headers.upgrade}`),
  )
  t.match(await proxy.curl('-x', 'http://$PROXY', '--http2', `http://origin.test:${port}/`), {
    status: 200,
    body: 'upgrade=undefined',
  })
})

t.test('an upgrade to a blocked host is answered with 403', async (t) => {
  const proxy = await startProxy(t, { blocklist: { domains: ['bad.test'], ips: [] } })
  const client = await openRaw(
    t,
    proxy.port,
    'GET http://bad.test/ HTTP/1.1\r\nHost: bad.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  )
  t.match((await client.closed()).text, /^HTTP\/1\.1 403 [\s\S]*blocklist/)
})
