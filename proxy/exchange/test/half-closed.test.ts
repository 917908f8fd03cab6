import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { becomes } from '../../../test/lab/becomes.js'
import { openRaw, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'

// A client that ends its own side after the request still gets the answer: it had nothing more to say.

const later =
  (body: string) => (request: { resume(): unknown }, response: { end(text: string): unknown }) => {
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

t.test(
  'one that has left is noticed while upstream is silent, and one that waits is not disturbed',
  async (t) => {
    const proxy = await startProxy(t)
    let answer = (): void => undefined
    let cut = 0
    const { port } = await startHttpOrigin(t, (request, response) => {
      response.once('close', () => (cut += response.writableFinished ? 0 : 1))
      if (request.url === '/kept') answer = () => void response.end('whole')
    })
    const host = `origin.test:${port}`
    const kept = await openRaw(t, proxy.port)
    kept.socket.end(asked(`http://${host}/kept`, host))
    const left = await openRaw(t, proxy.port)
    left.socket.end(asked(`http://${host}/left`, host))
    await becomes(() => proxy.server.traffic.live().length === 2)
    left.socket.destroy()
    await becomes(() => cut === 1)
    answer()
    t.match((await kept.closed()).text, /^(HTTP\/1\.1 100 Continue\r\n\r\n)*HTTP\/1\.1 200 [\s\S]*whole/)
  },
)

t.test('a part of too many trailers is not passed on for all of them', async (t) => {
  const proxy = await startProxy(t)
  let ended = 0
  const { port } = await startHttpOrigin(t, (request, response) => {
    request.resume().once('end', () => {
      ended += 1
      response.end('whole')
    })
    request.on('error', () => undefined)
  })
  const host = `origin.test:${port}`
  const trailers = (count: number): string =>
    `POST http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n` +
    `2\r\nok\r\n0\r\n${Array.from({ length: count }, (_, at) => `X-${at}: 1\r\n`).join('')}\r\n`
  t.match((await (await openRaw(t, proxy.port, trailers(900))).closed()).text, /^HTTP\/1\.1 200 /)
  t.match((await (await openRaw(t, proxy.port, trailers(1_500))).closed()).text, /^HTTP\/1\.1 431 /)
  t.equal(ended, 1)
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
