import { createHash } from 'node:crypto'
import t from 'tap'
import { openTestCache } from '../../../test/lab/cache-front.js'
import { folder } from '../../../test/lab/program.js'
import { openTls, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'
import { ask, openHttp2, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

// What a signature may cover goes on as the client wrote it, and what leaves Node's own limits is not lost.

t.test('Host goes on with the case and the port that it was written with', async (t) => {
  const proxy = await startProxy(t)
  const seen: string[] = []
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    seen.push(request.headers.host ?? '')
    response.end('ok')
  })
  const written = [`origin.test:${port}`, `Origin.Test:${port}`, `ORIGIN.TEST:${port}`]
  for (const host of written) {
    const client = await openTls(t, proxy, `origin.test:${port}`, 'origin.test')
    client.socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    await client.closed()
  }
  t.strictSame(seen, written)
  const session = await openHttp2(t, proxy, port)
  await ask(session, { ':path': '/', ':authority': `Origin.Test:${port}` })
  t.equal(seen.at(-1), `Origin.Test:${port}`, 'and :authority')
})

t.test('a fetch for the cache that is refused is repeated in the words of the client', async (t) => {
  const cache = await openTestCache(folder(t))
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { cache })
  const body = 'signed'
  const asked: string[] = []
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    const { range = '-', 'accept-encoding': encoding = '-', host = '' } = request.headers
    asked.push(`${range} ${encoding} ${host.split(':')[0]}`)
    const fits = range === 'bytes=0-' && encoding === 'zstd' && host.startsWith('Origin.Test')
    response.statusCode = fits ? 206 : Number(/s=(\d+)/.exec(request.url ?? '')?.[1])
    if (fits) response.setHeader('Content-Range', `bytes 0-5/6`)
    response.end(fits ? body : 'SignatureDoesNotMatch')
  })
  const digest = createHash('sha256').update(body).digest('hex')
  for (const [status, signed] of [
    [403, true],
    [400, false],
    [401, true],
  ] as const) {
    asked.length = 0
    const client = await openTls(t, proxy, `origin.test:${port}`, 'origin.test')
    const authorization = signed ? 'Authorization: AWS4-HMAC-SHA256 x\r\n' : ''
    client.socket.write(
      `GET /v2/a/blobs/sha256:${digest}?s=${status} HTTP/1.1\r\nHost: Origin.Test:${port}\r\nRange: bytes=0-\r\nAccept-Encoding: zstd\r\n${authorization}Connection: close\r\n\r\n`,
    )
    t.match((await client.closed()).text, /^HTTP\/1\.1 206 [\s\S]*signed$/, String(status))
    t.strictSame(asked, ['- identity origin.test', 'bytes=0- zstd Origin.Test'])
  }
  asked.length = 0
  const client = await openTls(t, proxy, `origin.test:${port}`, 'origin.test')
  client.socket.write(
    `GET /v2/a/blobs/sha256:${digest}?s=401 HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`,
  )
  t.match((await client.closed()).text, /^HTTP\/1\.1 401 /)
  t.equal(asked.length, 1, 'nothing was signed: a registry that asks for a token is asked once')
})

t.test(
  'a status that HTTP/2 cannot carry in Node is a 502 with a reason, and itself over HTTP/1.1',
  async (t) => {
    const proxy = await startProxy(t)
    const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
      response.writeHead(Number(request.url?.slice(1)), { 'Content-Length': 6 })
      response.end('denied')
    })
    const session = await openHttp2(t, proxy, port)
    for (const status of [600, 700, 999]) {
      const answer = await ask(session, { ':path': `/${status}` })
      t.equal(answer.status, 502)
      t.match(answer.body.toString(), /ERR_HTTP2_STATUS_INVALID/)
      const client = await openTls(t, proxy, `origin.test:${port}`, 'origin.test')
      client.socket.write(`GET /${status} HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`)
      t.match((await client.closed()).text, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*denied$`))
    }
  },
)

t.test('an answer of many fields comes whole, whichever HTTP it comes by', async (t) => {
  const proxy = await startProxy(t)
  const cookies = (path = ''): string[] =>
    Array.from({ length: Number(path.slice(1)) }, (_, at) => `c${at}=1`)
  const two = await startHttp2Origin(t, proxy, (stream, headers) => {
    stream.respond({ 'set-cookie': cookies(headers[':path']) })
    stream.end()
  })
  const one = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    response.setHeader('set-cookie', cookies(request.url))
    response.end()
  })
  for (const [name, port, counts] of [
    ['HTTP/2', two.port, [100, 129, 400, 1_000]],
    ['HTTP/1.1', one.port, [100, 1_100, 2_100]],
  ] as const) {
    for (const count of counts) {
      // By HTTP/1.1 and by hand: Node's own client of HTTP/2 takes 128 of them.
      const client = await openTls(t, proxy, `origin.test:${port}`, 'origin.test')
      client.socket.write(`GET /${count} HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`)
      const fields = (await client.closed()).text.match(/^set-cookie:/gim) ?? []
      t.equal(fields.length, count, `${count} by ${name}`)
    }
  }
})
