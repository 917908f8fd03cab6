import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { openRaw, startHttpOrigin, startHttpsOrigin, startProxy } from './harness.js'

// A client that ends its own side after the request still gets the answer: it had nothing more to say.

const later = (body: string) => (request: { resume(): unknown }, response: { end(text: string): unknown }) => {
  request.resume()
  // After the end of the client's side, which is under way together with the request.
  setTimeout(() => response.end(body), 200)
}

const asked = (target: string, host: string, more = ''): string =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`

t.test('asked directly, with and without `Connection: close`, and for several things at once', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(t, later('whole'))
  const host = `origin.test:${port}`
  for (const text of [
    asked(`http://${host}/`, host, 'Connection: close\r\n'),
    asked(`http://${host}/`, host),
    `POST http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 2\r\n\r\nok`,
    asked(`http://${host}/a`, host) + asked(`http://${host}/b`, host),
  ]) {
    const client = await openRaw(t, proxy.port)
    client.socket.end(text)
    const answer = await client.closed()
    t.equal(answer.text.match(/whole/g)?.length, text.match(/ HTTP\//g)?.length, answer.text)
  }
})

t.test('in a tunnel, and in TLS', async (t) => {
  const proxy = await startProxy(t)
  const plain = await startHttpOrigin(t, later('whole'))
  const secure = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', later('whole'))
  for (const [port, isSecure] of [
    [plain.port, false],
    [secure.port, true],
  ] as const) {
    const host = `origin.test:${port}`
    const tunnel = await openRaw(t, proxy.port, `CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    await tunnel.until(/\r\n\r\n$/)
    tunnel.socket.removeAllListeners('data')
    const inner = isSecure
      ? connectTls({ socket: tunnel.socket, ca: proxy.caPem, servername: 'origin.test' })
      : tunnel.socket
    if (isSecure) await once(inner, 'secureConnect')
    let text = ''
    inner.on('data', (chunk) => (text += String(chunk)))
    inner.end(asked('/', host))
    await once(inner, 'end')
    t.match(text, /^HTTP\/1\.1 200 [\s\S]*whole/)
  }
})

t.test('an upload that ends early is none, and a connection without a request ends', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(t, later('whole'))
  const host = `origin.test:${port}`
  const early = await openRaw(t, proxy.port)
  early.socket.end(`POST http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 9\r\n\r\nhalf`)
  t.notMatch((await early.closed()).text, /whole/)
  const idle = await openRaw(t, proxy.port, asked(`http://${host}/`, host))
  await idle.until(/whole/)
  idle.socket.end()
  await idle.closed()
})
