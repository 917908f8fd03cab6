import { once } from 'node:events'
import { setInterval as every, setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import {
  openRaw,
  openTls,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  startTcpOrigin,
} from '../../../test/lab/harness.js'
import { ask, openHttp2, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

// What stands still ends and says why; what flows, however slowly, has all the time it needs.

const GREETING = Buffer.from([5, 1, 0])

function socksRequest(port: number): Buffer {
  const name = Buffer.from('origin.test')
  return Buffer.concat([Buffer.from([5, 1, 0, 3, name.length]), name, Buffer.from([port >> 8, port & 0xff])])
}

t.test('a server that accepts and then says nothing is answered for with 504', async (t) => {
  const proxy = await startProxy(t, { timeouts: { connect: 300 } })
  const port = await startTcpOrigin(t, () => undefined)
  for (const version of ['--http1.1', '--http2']) {
    const answer = await proxy.curl('-x', 'http://$PROXY', version, `https://origin.test:${port}/`)
    t.match(answer, { status: 504, body: /did not accept the connection in time/ }, version)
  }
})

t.test('a client that is slow to say what it wants is not waited for', async (t) => {
  const proxy = await startProxy(t, { timeouts: { headers: 300 } })
  const origin = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    response.end('never asked for')
  })
  const slow = await openRaw(t, proxy.port, 'GET http://origin.test/ HTTP/1.1\r\nHost: orig')
  t.match((await slow.closed()).text, /^HTTP\/1\.1 408 [\s\S]*took longer than 0\.3 s/)

  const silent = await openRaw(t, proxy.port)
  t.equal((await silent.closed()).text, '', 'no first byte')
  const socks = await openRaw(t, proxy.port, GREETING)
  t.equal((await socks.closed()).text, '\x05\x00', 'no SOCKS request')

  const target = `origin.test:${origin.port}`
  const connect = `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`
  const tunnel = await openRaw(t, proxy.port, connect)
  t.match((await tunnel.closed()).text, /^HTTP\/1\.1 200 [^\n]*\r\n\r\n$/, 'nothing in the tunnel')
  const hello = await openRaw(t, proxy.port, connect)
  await hello.until(/\r\n\r\n$/)
  hello.socket.write(Buffer.from([0x16, 3, 1, 1, 0, 1]))
  t.match((await hello.closed()).text, /^HTTP\/1\.1 200 [^\n]*\r\n\r\n$/, 'half a TLS handshake')
})

t.test('an answer that does not begin is a 504 that says why', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 300 } })
  const plain = await startHttpOrigin(t, () => undefined)
  const secure = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', () => undefined)
  const http2 = await startHttp2Origin(t, proxy, () => undefined)
  const stalled = /nothing came or went for 0\.3 s \(timeouts\.idle\)/
  for (const url of [`http://origin.test:${plain.port}/`, `https://origin.test:${secure.port}/`]) {
    const answer = await proxy.curl('-x', 'http://$PROXY', '-i', url)
    t.match(answer, { status: 504, body: stalled }, url)
    t.match(answer.body, /^proxy-status: discobot; error=http_response_timeout; details=/im)
  }
  const session = await openHttp2(t, proxy, http2.port)
  const reply = await ask(session, { ':path': '/' })
  t.match(reply, { status: 504, ended: true })
  t.match(reply.body.toString(), stalled)
})

t.test('a body that stops in the middle is reset, never ended', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 300 } })
  const origin = await startHttpOrigin(t, (_request, response) => void response.write('part'))
  const raw = await openRaw(
    t,
    proxy.port,
    `GET http://origin.test:${origin.port}/ HTTP/1.1\r\nHost: origin.test:${origin.port}\r\n\r\n`,
  )
  t.match(await raw.closed(), { text: /part/, errorCode: 'ECONNRESET' })
  t.notMatch(raw.received(), /\r\n0\r\n/, 'no last chunk')
  const http2 = await startHttp2Origin(t, proxy, (stream, headers) => {
    stream.respond({ ':status': 200 })
    if (headers[':path'] === '/whole') stream.end('whole')
    else stream.write('part')
  })
  const session = await openHttp2(t, proxy, http2.port)
  t.match(await ask(session, { ':path': '/' }), { status: 200, ended: false })
  t.equal((await ask(session, { ':path': '/whole' })).body.toString(), 'whole', 'other streams go on')
})

t.test('transfers that trickle take as long as they like, up and down', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 400 } })
  const origin = await startHttpOrigin(t, (request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => void trickle((piece) => response.write(piece)).then(() => response.end(body)))
  })
  const client = await openRaw(
    t,
    proxy.port,
    `POST http://origin.test:${origin.port}/ HTTP/1.1\r\nHost: origin.test:${origin.port}\r\nContent-Length: 10\r\nConnection: close\r\n\r\n`,
  )
  await trickle((piece) => client.socket.write(piece))
  const { text } = await client.closed()
  t.match(text, /^HTTP\/1\.1 200 /)
  t.equal(text.match(/^x$/gm)?.length, 10, 'all of the answer came')
  t.match(text, /xxxxxxxxxx\r\n0\r\n\r\n$/, 'and all of the upload had gone')
})

t.test('a client that stops in the middle of its upload is told so', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 300 } })
  const origin = await startHttpOrigin(t, (request) => void request.resume())
  const client = await openRaw(
    t,
    proxy.port,
    `PUT http://origin.test:${origin.port}/ HTTP/1.1\r\nHost: origin.test:${origin.port}\r\nContent-Length: 10\r\n\r\nhalf`,
  )
  t.match((await client.closed()).text, /^HTTP\/1\.1 408 [\s\S]*cannot read the request/)
})

t.test('a client that does not take its answer is let go of, and upstream with it', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 300 } })
  let gone: Promise<unknown> | undefined
  const origin = await startHttpOrigin(t, (_request, response) => {
    gone = new Promise((resolve) => response.once('close', resolve))
    const more = (): void => {
      while (response.write(Buffer.alloc(65_536)));
    }
    response.on('drain', more)
    more()
  })
  const client = await openRaw(t, proxy.port)
  client.socket.pause()
  client.socket.write(
    `GET http://origin.test:${origin.port}/ HTTP/1.1\r\nHost: origin.test:${origin.port}\r\n\r\n`,
  )
  await once(origin.server, 'request')
  await gone
  client.socket.resume()
  t.notMatch((await client.closed()).text, /\r\n0\r\n\r\n$/, 'what it had of it is no whole')
})

t.test('tunnels in which nothing flows end on both sides, whatever opened them', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 300 }, passthrough: ['passed.test'] })
  let ended: Promise<unknown> = Promise.resolve()
  const port = await startTcpOrigin(t, (socket) => {
    ended = new Promise((resolve) => socket.once('close', resolve))
    socket.write('banner')
    socket.resume()
  })
  for (const host of ['origin.test', 'passed.test']) {
    const target = `${host}:${port}`
    const raw = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
    await raw.until(/banner$/)
    await raw.closed()
    await ended
    t.pass(host)
  }
  const socks = await openRaw(t, proxy.port, GREETING)
  await socks.until(/^\x05\x00$/)
  socks.socket.write(socksRequest(port))
  await socks.until(/banner$/)
  await socks.closed()
  await ended
})

t.test('a WebSocket lives on pings, and ends without them', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 400 } })
  const origin = await startHttpOrigin(t, (_request, response) => void response.end())
  const sockets = new WebSocketServer({ server: origin.server })
  t.teardown(() => sockets.close())
  const tunnel = await openRaw(
    t,
    proxy.port,
    `CONNECT ws.test:${origin.port} HTTP/1.1\r\nHost: ws.test:${origin.port}\r\n\r\n`,
  )
  await tunnel.until(/\r\n\r\n$/)
  tunnel.socket.removeAllListeners('data')
  const client = new WebSocket(`ws://ws.test:${origin.port}/`, { createConnection: () => tunnel.socket })
  client.on('error', () => undefined)
  await once(client, 'open')
  await trickle(() => client.ping())
  t.equal(client.readyState, WebSocket.OPEN)
  await once(client, 'close')
})

t.test('a connection is kept for the next request as long as configured', async (t) => {
  const proxy = await startProxy(t, { timeouts: { keep_alive: 300 } })
  const origin = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    response.end('answer')
  })
  const http1 = await openTls(t, proxy, `origin.test:${origin.port}`, 'origin.test')
  http1.socket.write(`GET / HTTP/1.1\r\nHost: origin.test:${origin.port}\r\n\r\n`)
  t.match((await http1.closed()).text, /answer/)
  const http2 = await openHttp2(t, proxy, origin.port)
  t.match(await ask(http2, { ':path': '/' }), { status: 200 })
  if (!http2.destroyed) await once(http2, 'close')
})

t.test('new time-outs count from the next request on', async (t) => {
  const proxy = await startProxy(t)
  const origin = await startHttpOrigin(t, () => undefined)
  const { resolveSecrets } = await import('../../credentials/secrets.js')
  const { createSecureContext } = await import('node:tls')
  proxy.server.reconfigure({
    config: { ...proxy.config, timeouts: { ...proxy.config.timeouts, idle: 300 } },
    secrets: await resolveSecrets({}, {}),
    trust: createSecureContext(),
  })
  t.match(await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${origin.port}/`), { status: 504 })
})

/** Ten pieces over a second: never still for long, and longer than any limit here. */
async function trickle(send: (piece: string) => void): Promise<void> {
  let sent = 0
  for await (const _ of every(100)) {
    send('x')
    sent += 1
    if (sent === 10) break
  }
  await delay(0)
}
