import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { openRaw, startHttpOrigin, startProxy } from '../../../test/lab/harness.js'

t.test('garbage and half-open connections harm nobody and leave nothing behind', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('fine'))
  const reached = async (): Promise<string> =>
    (await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`)).body
  t.equal(await reached(), 'fine')
  const descriptors = readdirSync('/proc/self/fd').length

  const starts = [
    Buffer.from([0x05]),
    Buffer.from([0x05, 0xff, 0x00]),
    Buffer.from([0x05, 0x01, 0x00, 0x05, 0x01, 0x00, 0x03, 0xff]),
    Buffer.from([0x16, 0x03, 0x01, 0xff, 0xff]),
    Buffer.from('GET'),
    Buffer.from('GET / HTTP/1.1\r\n'),
    Buffer.from('CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n\x16\x03\x01\x02\x00'),
    Buffer.from(`CONNECT origin.test:${port} HTTP/1.1\r\nHost: origin.test:${port}\r\n\r\n`),
    Buffer.from('\r\n\r\n\r\n'),
    Buffer.alloc(0),
  ]
  const clients = await Promise.all(
    Array.from({ length: 200 }, (_, at) => {
      const start = starts[at % starts.length] ?? Buffer.alloc(0)
      return openRaw(t, proxy.port, at % 3 === 0 ? Buffer.concat([start, randomBytes(at * 7)]) : start)
    }),
  )
  t.equal(await reached(), 'fine', 'served while 200 of them are there')
  clients.forEach((client, at) => (at % 2 === 0 ? client.socket.resetAndDestroy() : client.socket.end()))
  await Promise.all(clients.map((client) => client.closed()))
  t.equal(await reached(), 'fine')
  // Connections end in the kernel before our handlers ran.
  for (let tries = 0; readdirSync('/proc/self/fd').length > descriptors + 4 && tries < 100; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  t.ok(readdirSync('/proc/self/fd').length <= descriptors + 4, 'no descriptor is left')
})

t.test('malformed requests are answered with what is wrong', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const at = `origin.test:${port}`
  const cases: readonly [what: string, request: string, answer: RegExp][] = [
    ['not HTTP', 'hello there\r\n\r\n', /^HTTP\/1\.1 400 [\s\S]*not valid HTTP/],
    [
      'as if we were a server',
      'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
      /^HTTP\/1\.1 400 [\s\S]*this is a proxy/,
    ],
    [
      'both length and chunks',
      `POST http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'two lengths',
      `POST http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n1234`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a bare CR in a header',
      `GET http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nX: a\rb\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    ['a NUL in a header', `GET http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nX: a\0b\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['a space before the colon', `GET http://${at}/ HTTP/1.1\r\nHost : ${at}\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['no Host', `GET http://${at}/ HTTP/1.1\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [
      'two Hosts',
      `GET http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nHost: ${at}\r\nConnection: close\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'too large headers',
      `GET http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nX: ${'a'.repeat(70_000)}\r\n\r\n`,
      /^HTTP\/1\.1 431 [\s\S]*64 KiB/,
    ],
    [
      'another scheme',
      `GET ftp://${at}/ HTTP/1.1\r\nHost: ${at}\r\nConnection: close\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'credentials in the target',
      `GET http://user:pw@${at}/ HTTP/1.1\r\nHost: ${at}\r\nConnection: close\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
  ]
  for (const [what, request, answer] of cases) {
    const client = await openRaw(t, proxy.port, request)
    const { text } = await client.closed()
    t.match(text, answer, what)
    t.notMatch(text, /reached/, what)
  }
})

t.test('an https:// proxy address and TLS on the proxy port end in an alert, not in silence', async (t) => {
  const proxy = await startProxy(t)
  const { exitCode } = await proxy.curl('-x', 'https://$PROXY', 'http://origin.test/')
  t.equal(exitCode, 35, 'curl: TLS handshake failed')
})
