import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import {
  openRaw,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  startTcpOrigin,
} from '../../../test/lab/harness.js'

const tunnel = (target: string): string => `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`

t.test('a server that speaks first is heard through CONNECT', async (t) => {
  const proxy = await startProxy(t)
  const port = await startTcpOrigin(t, (socket) => {
    socket.write('SSH-2.0-origin\r\n')
    socket.on('data', (data) => socket.write(`echo ${data.toString()}`))
  })
  const client = await openRaw(t, proxy.port, tunnel(`origin.test:${port}`))
  await client.until(/SSH-2\.0-origin\r\n$/)
  client.socket.write('hello')
  await client.until(/echo hello$/)
})

t.test('bytes of no protocol we know pass untouched both ways, and each end is passed on', async (t) => {
  const proxy = await startProxy(t)
  const sent = Buffer.concat([Buffer.from([0x00, 0x01]), randomBytes(3_000_000)])
  const port = await startTcpOrigin(t, (socket) => {
    const hash = createHash('sha256')
    socket.on('data', (data) => hash.update(data))
    // Answers only once the client has ended its half: the other half must still be open.
    socket.on('end', () => socket.end(hash.digest('hex')))
  })
  const client = await openRaw(t, proxy.port, tunnel(`origin.test:${port}`))
  await client.until(/\r\n\r\n$/)
  client.socket.end(sent)
  t.match((await client.closed()).text, `\r\n\r\n${createHash('sha256').update(sent).digest('hex')}`)
})

t.test('a client-first protocol that begins like HTTP does is not taken for it', async (t) => {
  const proxy = await startProxy(t)
  const port = await startTcpOrigin(t, (socket) => {
    socket.on('data', (data) => socket.write(`<${data.toString()}>`))
  })
  for (const hello of ['SSH-2.0-client\r\n', 'NICK me\r\n', '*1\r\n$4\r\nPING\r\n', 'get key\r\n']) {
    const client = await openRaw(t, proxy.port, tunnel(`origin.test:${port}`))
    await client.until(/\r\n\r\n$/)
    client.socket.write(hello)
    await client.until(/>$/)
    t.ok(client.received().endsWith(`<${hello}>`), JSON.stringify(hello))
  }
})

t.test('an abort on either side of a tunnel ends the other', async (t) => {
  const proxy = await startProxy(t)
  let upstreamClosed: Promise<unknown> | undefined
  const port = await startTcpOrigin(t, (socket) => {
    upstreamClosed = new Promise((resolve) => socket.once('close', resolve))
    socket.write('\0ready')
    socket.on('data', (data) => (data.toString() === 'cut' ? socket.resetAndDestroy() : undefined))
  })
  const leaver = await openRaw(t, proxy.port, tunnel(`origin.test:${port}`))
  await leaver.until(/ready$/)
  leaver.socket.resetAndDestroy()
  await upstreamClosed

  const left = await openRaw(t, proxy.port, tunnel(`origin.test:${port}`))
  await left.until(/ready$/)
  left.socket.write('cut')
  await left.closed()
  t.pass('both ended')
})

t.test(
  'hosts of tls.passthrough keep their own certificate; a failure to reach them answers CONNECT',
  async (t) => {
    const proxy = await startProxy(t, {
      passthrough: ['*.pinned.test'],
      blocklist: { domains: ['no.pinned.test'], ips: [] },
    })
    const { port } = await startHttpsOrigin(
      t,
      proxy.originAuthority,
      'a.pinned.test',
      (_request, response) => void response.end('own'),
    )
    const client = await openRaw(t, proxy.port, tunnel(`a.pinned.test:${port}`))
    await client.until(/\r\n\r\n$/)
    client.socket.removeAllListeners('data')
    const secure = connectTls({
      socket: client.socket,
      servername: 'a.pinned.test',
      ca: proxy.originAuthority.certPem,
    })
    await once(secure, 'secureConnect')
    t.ok(secure.authorized, "the certificate is the origin's own")

    const refused = await openRaw(t, proxy.port, tunnel('a.pinned.test:9'))
    t.match((await refused.closed()).text, /^HTTP\/1\.1 502 [\s\S]*refuses connections/)
    const blocked = await openRaw(t, proxy.port, tunnel('no.pinned.test:443'))
    t.match((await blocked.closed()).text, /^HTTP\/1\.1 403 [\s\S]*blocklist\.domains/)
  },
)

t.test('CONNECT without a usable target is refused with the reason', async (t) => {
  const proxy = await startProxy(t)
  const cases: readonly [request: string, answer: RegExp][] = [
    ['CONNECT origin.test HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 400 [\s\S]*the port is missing/],
    ['CONNECT origin.test:0 HTTP/1.1\r\nHost: origin.test\r\n\r\n', /^HTTP\/1\.1 400 [\s\S]*1 to 65535/],
    ['CONNECT __proto__:443 HTTP/1.1\r\nHost: other.test\r\n\r\n', /^HTTP\/1\.1 421 /],
    ['CONNECT ../../ca:443 HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['CONNECT /:443 HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 400 /],
  ]
  for (const [request, answer] of cases) {
    const client = await openRaw(t, proxy.port, request)
    t.match((await client.closed()).text, answer, JSON.stringify(request))
  }
})

t.test("a CONNECT whose Host is the proxy's own, by any of its names, is served", async (t) => {
  const proxy = await startProxy(t)
  const port = await startTcpOrigin(t, (socket) => socket.write('\0banner'))
  for (const name of ['127.0.0.1', 'localhost', 'proxy.test', 'host.docker.internal', '[::1]']) {
    const client = await openRaw(
      t,
      proxy.port,
      `CONNECT origin.test:${port} HTTP/1.1\r\nHost: ${name}:${proxy.port}\r\n\r\n`,
    )
    await client.until(/banner$/)
  }
  const other = await openRaw(
    t,
    proxy.port,
    `CONNECT origin.test:${port} HTTP/1.1\r\nHost: other.test:${port}\r\n\r\n`,
  )
  t.match((await other.closed()).text, /^HTTP\/1\.1 421 /)
})

t.test('names that were holes elsewhere are ordinary names here', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(t, (request, response) => void response.end(request.headers.host))
  for (const name of ['ca', 'ca.private', '__proto__', 'constructor']) {
    const { body } = await proxy.curl('-p', '-x', 'http://$PROXY', `http://${name}:${port}/`)
    t.equal(body, `${name}:${port}`)
  }
  t.equal(
    (await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`)).status,
    200,
    'the CA is unharmed',
  )
})
