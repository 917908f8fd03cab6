import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { constants, type IncomingHttpHeaders } from 'node:http2'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startHttpOrigin, startHttpsOrigin, startProxy, type TestProxy } from '../../../test/lab/harness.js'
import { ask, openHttp2, reply, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

/** An origin that keeps every connection and breaks it when a second request has come on it. */
async function fickleOrigin(
  t: Test,
  proxy: TestProxy,
  secure: boolean,
): Promise<{ readonly url: string; readonly seen: string[] }> {
  const seen: string[] = []
  const counts = new WeakMap<object, number>()
  const listener = async (
    request: IncomingMessage,
    response: import('node:http').ServerResponse,
  ): Promise<void> => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk as string
    seen.push(`${request.method} ${request.url} ${body}`.trim())
    const turn = (counts.get(request.socket) ?? 0) + 1
    counts.set(request.socket, turn)
    if (turn > 1) request.socket.destroy()
    else response.end('done')
  }
  const serve = (request: IncomingMessage, response: import('node:http').ServerResponse): void =>
    void listener(request, response)
  const { port } = secure
    ? await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', serve)
    : await startHttpOrigin(t, serve)
  return { url: `${secure ? 'https' : 'http'}://origin.test:${port}`, seen }
}

const ONCE = [
  ['POST without a body', '-X', 'POST'],
  ['POST with a body', '-d', 'order'],
  ['PATCH', '-X', 'PATCH', '-d', 'change'],
  ['PUT with a body', '-X', 'PUT', '-d', 'all of it'],
  ['a method that is seldom met', '-X', 'MKCOL'],
] as const

for (const secure of [false, true]) {
  const over = secure ? 'TLS' : 'plain HTTP'
  t.test(`${over}: a request that may not be sent twice goes out on a connection of its own`, async (t) => {
    const proxy = await startProxy(t)
    for (const [name, ...args] of ONCE) {
      const { url, seen } = await fickleOrigin(t, proxy, secure)
      t.equal((await proxy.curl('-x', 'http://$PROXY', `${url}/before`)).status, 200)
      const answer = await proxy.curl('-x', 'http://$PROXY', ...args, `${url}/once`)
      t.equal(answer.status, 200, `${name} is answered`)
      t.equal(seen.filter((line) => line.includes('/once')).length, 1, `${name} came once`)
    }
  })

  t.test(
    `${over}: what may be sent twice takes a kept connection, and is sent again when it dies`,
    async (t) => {
      const proxy = await startProxy(t)
      for (const method of ['GET', 'DELETE', 'PUT', 'OPTIONS']) {
        const { url, seen } = await fickleOrigin(t, proxy, secure)
        await proxy.curl('-x', 'http://$PROXY', `${url}/before`)
        const answer = await proxy.curl('-x', 'http://$PROXY', '-X', method, `${url}/twice`)
        t.equal(answer.status, 200, `${method} is answered`)
        t.equal(seen.filter((line) => line.includes('/twice')).length, 2, `${method} came again`)
      }
    },
  )
}

t.test('a new connection that dies under a request is never reason for another', async (t) => {
  const proxy = await startProxy(t)
  let came = 0
  const { port } = await startHttpOrigin(t, (request) => {
    came += 1
    request.socket.destroy()
  })
  t.equal((await proxy.curl('-x', 'http://$PROXY', '-X', 'POST', `http://origin.test:${port}/`)).status, 502)
  t.equal(came, 1)
})

t.test('a connection that was opened for one such request serves others afterwards', async (t) => {
  const proxy = await startProxy(t)
  let connections = 0
  const { server, port } = await startHttpOrigin(t, (request, response) => {
    request.resume().on('end', () => response.end('ok'))
  })
  server.on('connection', () => (connections += 1))
  const ask = async (method: string): Promise<void> => {
    const client = httpRequest({
      host: '127.0.0.1',
      port: proxy.port,
      method,
      path: `http://origin.test:${port}/`,
      headers: { Host: `origin.test:${port}` },
    }).end()
    const [response] = (await once(client, 'response')) as [IncomingMessage]
    await once(response.resume(), 'end')
  }
  await ask('POST')
  await ask('GET')
  t.equal(connections, 1)
  await ask('POST')
  t.equal(connections, 2)
})

t.test('HTTP/2: a session that dies under a request', async (t) => {
  const cases: readonly (readonly [
    method: string,
    body: string | undefined,
    times: number,
    status: number,
  ])[] = [
    ['GET', undefined, 2, 200],
    ['DELETE', undefined, 2, 200],
    ['POST', undefined, 1, 502],
    ['POST', 'order', 1, 502],
    ['PUT', 'all', 1, 502],
  ]
  for (const [method, body, times, status] of cases) {
    const proxy = await startProxy(t)
    const seen: string[] = []
    const origin = await startHttp2Origin(t, proxy, (stream, headers) => {
      seen.push(String(headers[':path']))
      if (seen.length === 2) return stream.session?.destroy()
      stream.resume()
      stream.respond({ ':status': 200 })
      stream.end('done')
    })
    const session = await openHttp2(t, proxy, origin.port)
    await ask(session, { ':path': '/before' })
    const answer = await ask(
      session,
      { ':method': method, ':path': '/x' },
      body === undefined ? body : Buffer.from(body),
    )
    t.equal(answer.status, status, `${method} ${body ?? 'without a body'}`)
    t.equal(seen.filter((path) => path === '/x').length, times, `${method} ${body ?? ''} came ${times} times`)
  }
})

t.test('HTTP/2: what the server says it has not looked at is sent again, whatever its method', async (t) => {
  for (const how of ['REFUSED_STREAM', 'GOAWAY'] as const) {
    const proxy = await startProxy(t)
    const seen: string[] = []
    const origin = await startHttp2Origin(t, proxy, (stream, headers: IncomingHttpHeaders) => {
      seen.push(String(headers[':path']))
      if (seen.length === 2) {
        if (how === 'REFUSED_STREAM') return stream.close(constants.NGHTTP2_REFUSED_STREAM)
        // Stream 1 is the last it has looked at.
        stream.session?.goaway(constants.NGHTTP2_NO_ERROR, 1)
        return void setImmediate(() => stream.session?.destroy())
      }
      stream.resume()
      stream.respond({ ':status': 200 })
      stream.end('done')
    })
    const session = await openHttp2(t, proxy, origin.port)
    await ask(session, { ':path': '/before' })
    t.equal((await ask(session, { ':method': 'POST', ':path': '/x' })).status, 200, how)
    t.equal(seen.length, 3)
  }
})

t.test('HTTP/2: a body goes with it, as far as it can be kept, and is whole', async (t) => {
  const sizes = { small: 5, 'as large as is kept': 64 * 1024, 'too large': 4 * 1024 * 1024 }
  for (const [name, size] of Object.entries(sizes)) {
    for (const how of ['REFUSED_STREAM', 'GOAWAY'] as const) {
      const proxy = await startProxy(t)
      const came: string[] = []
      const origin = await startHttp2Origin(t, proxy, (stream) => {
        const turn = came.push('')
        const refuse = (): void => {
          if (how === 'REFUSED_STREAM') return stream.close(constants.NGHTTP2_REFUSED_STREAM)
          stream.session?.goaway(constants.NGHTTP2_NO_ERROR, 1)
          setImmediate(() => stream.session?.destroy())
        }
        // When as much has come as a server has room for that reads nothing.
        let left = Math.min(size, 60 * 1024)
        const hash = createHash('sha256')
        stream.on('data', (chunk: Buffer) => {
          hash.update(chunk)
          left -= chunk.length
          if (turn === 2 && left <= 0) refuse()
        })
        let trailers = ''
        stream.on('trailers', (fields: IncomingHttpHeaders) => (trailers = String(fields['x-last'])))
        stream.on('end', () => {
          if (stream.closed) return
          came[turn - 1] = `${hash.digest('hex')} ${trailers}`
          stream.respond({ ':status': 200 })
          stream.end('done')
        })
      })
      const session = await openHttp2(t, proxy, origin.port)
      await ask(session, { ':method': 'POST', ':path': '/before' }, Buffer.from('x'))
      const body = randomBytes(size)
      const upload = session.request(
        { ':method': 'POST', ':path': '/' },
        { endStream: false, waitForTrailers: true },
      )
      upload.on('wantTrailers', () => upload.sendTrailers({ 'x-last': 'yes' }))
      upload.end(body)
      const { status } = await reply(upload)
      t.equal(status, name === 'too large' ? 502 : 200, `${name}, ${how}`)
      if (name === 'too large') continue
      t.equal(came[2], `${createHash('sha256').update(body).digest('hex')} yes`, `${name}, ${how}`)
    }
  }
})

t.test(
  'HTTP/2: after a silence a request that may not be sent twice first asks whether the session lives',
  async (t) => {
    const proxy = await startProxy(t)
    const pings: number[] = []
    const seen: string[] = []
    const origin = await startHttp2Origin(t, proxy, (stream, headers) => {
      seen.push(`${String(headers[':method'])} after ${pings.length}`)
      stream.resume()
      stream.respond({ ':status': 200 })
      stream.end('done')
    })
    origin.server.on('session', (session) => session.on('ping', () => pings.push(1)))
    const session = await openHttp2(t, proxy, origin.port)
    await ask(session, { ':path': '/' })
    await ask(session, { ':method': 'POST', ':path': '/' }, Buffer.from('at once'))
    // Longer than a connection counts as in use.
    await delay(1_100)
    await ask(session, { ':method': 'POST', ':path': '/' }, Buffer.from('later'))
    t.strictSame(seen, ['GET after 0', 'POST after 0', 'POST after 1'])
    // It dies in the silence: the connection is found dead, and nothing is lost.
    await delay(1_100)
    for (const own of origin.sessions) own.on('ping', () => own.destroy())
    t.equal((await ask(session, { ':method': 'POST', ':path': '/' }, Buffer.from('last'))).status, 200)
    t.equal(origin.sessions.length, 2)
  },
)
