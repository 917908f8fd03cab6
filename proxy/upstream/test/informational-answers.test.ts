import { constants, type ServerHttp2Stream } from 'node:http2'
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import t from 'tap'
import { MAX_INFORMATIONAL } from '../informational.js'
import { openTestCache, until } from '../../../test/lab/cache-front.js'
import { openRaw, startHttpsOrigin, startProxy, startTcpOrigin } from '../../../test/lab/harness.js'
import { END_HEADERS, END_STREAM, FRAME, frame, framesOf, get, opening } from '../../../test/lab/frames.js'
import {
  ask,
  openHttp2,
  openHttp2Socket,
  reply,
  startHttp2Origin,
} from '../../../test/lab/origins/http2-ends.js'

// An upstream may say 1xx a thousand times before its answer. More are no answer, and neither they nor a client that
// reads nothing makes the proxy hold more of them than a head or two.

const HINT = 'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'
/** What two ends of a connection on this machine hold by themselves: tcp_wmem and tcp_rmem, twice, and some room. */
const KERNEL_BYTES = 24 * 1024 * 1024

/** One request a connection; `path` says how many hints it gets. Resolves `gone` with each connection that ends. */
async function hinting(t: Parameters<typeof startTcpOrigin>[0]) {
  const gone: string[] = []
  const port = await startTcpOrigin(t, (socket: Socket) => {
    socket.once('data', (head: Buffer) => {
      const path = / (?:http:\/\/[^/]+)?(\S+) HTTP/.exec(head.toString('latin1'))?.[1] ?? ''
      socket.once('close', () => gone.push(path))
      const count = Number(/\d+/.exec(path))
      if (count > 0) return void socket.write(HINT.repeat(count) + OK)
      const more = (): void => {
        while (!socket.destroyed && socket.write(HINT.repeat(100)));
      }
      socket.on('drain', more)
      more()
    })
  })
  return { port, gone }
}

t.test('over HTTP/1.1, a thousand 1xx are passed on, and one more is a 502 that says so', async (t) => {
  const proxy = await startProxy(t)
  const { port, gone } = await hinting(t)
  const fetch = async (path: string): Promise<string> => {
    const client = await openRaw(t, proxy.port)
    client.socket.write(
      `GET http://origin.test:${port}${path} HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`,
    )
    return (await client.closed()).text
  }
  const most = await fetch(`/${MAX_INFORMATIONAL}`)
  t.equal(most.split('HTTP/1.1 103').length - 1, MAX_INFORMATIONAL)
  t.match(most, /HTTP\/1\.1 200 OK[\s\S]*ok$/)
  for (const path of [`/${MAX_INFORMATIONAL + 1}`, '/endless']) {
    const answer = await fetch(path)
    t.equal(answer.split('HTTP/1.1 103').length - 1, MAX_INFORMATIONAL, path)
    t.match(
      answer,
      /HTTP\/1\.1 502 [\s\S]*error=http_protocol_error[\s\S]*more than 1000 informational \(1xx\) answers/,
    )
  }
  t.ok(gone.includes('/endless'), 'upstream is let go of')
})

t.test('over HTTP/2 too, and the other streams of the connection go on', async (t) => {
  const proxy = await startProxy(t)
  const reset: (number | undefined)[] = []
  let held: ServerHttp2Stream | undefined
  const { port, sessions } = await startHttp2Origin(t, proxy, (stream, headers) => {
    if (headers[':path'] === '/held') return void (held = stream)
    const count = Number(/\d+/.exec(headers[':path'] ?? '') ?? Infinity)
    stream.once('close', () => reset.push(stream.rstCode))
    let sent = 0
    const more = (): void => {
      for (let burst = 0; burst < 50 && sent < count && !stream.closed; burst += 1, sent += 1)
        stream.additionalHeaders({ ':status': 103, link: '</a>; rel=preload' })
      if (stream.closed) return
      if (sent < count) return void setImmediate(more)
      stream.respond({ ':status': 200 })
      stream.end('ok')
    }
    more()
  })
  const session = await openHttp2(t, proxy, port)
  const waiting = ask(session, { ':path': '/held' })
  for (const [path, status] of [
    [`/${MAX_INFORMATIONAL}`, 200],
    [`/${MAX_INFORMATIONAL + 1}`, 502],
    ['/endless', 502],
  ] as const) {
    const stream = session.request({ ':path': path })
    let hints = 0
    stream.on('headers', () => (hints += 1))
    const answer = await reply(stream)
    t.equal(answer.status, status, path)
    t.ok(hints > 0 && hints <= MAX_INFORMATIONAL, `${hints} hints`)
    if (status === 502) t.match(answer.body.toString(), /more than 1000 informational \(1xx\) answers/)
  }
  while (reset.length < 3) await new Promise(setImmediate)
  // The second may have been written to its end by then.
  t.equal(reset.at(-1), constants.NGHTTP2_CANCEL)
  held?.respond({ ':status': 200 })
  held?.end('held')
  t.equal((await waiting).body.toString(), 'held')
  t.equal(sessions.length, 1)
})

t.test('a server that says now and then that it is at work is waited for, over either', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 1_000 } })
  const WORKS = 6
  const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    let times = 0
    const timer = setInterval(() => {
      times += 1
      if (times <= WORKS) return void response.writeProcessing()
      clearInterval(timer)
      response.end('done')
    }, 300)
    response.once('close', () => clearInterval(timer))
  })
  const only = await startHttp2Origin(t, proxy, (stream) => {
    let times = 0
    const timer = setInterval(() => {
      times += 1
      if (times <= WORKS) return void stream.additionalHeaders({ ':status': 102 })
      clearInterval(timer)
      stream.respond({ ':status': 200 })
      stream.end('done')
    }, 300)
    stream.once('close', () => clearInterval(timer))
  })
  const answers = [old.port, only.port].map(async (port) =>
    ask(await openHttp2(t, proxy, port), { ':path': '/' }),
  )
  for (const { status, body } of await Promise.all(answers))
    t.match({ status, body: body.toString() }, { status: 200, body: 'done' })
})

t.test('nor does a request of the cache, which passes none on', async (t) => {
  const cache = await openTestCache(t.testdir())
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { cache })
  const { port, gone } = await hinting(t)
  t.match(await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${port}/plain/endless`), {
    status: 502,
    body: /more than 1000 informational \(1xx\) answers/,
  })
  await until(() => gone.includes('/plain/endless'))
  t.equal(proxy.server.traffic.live().length, 0)
})

t.test('what a client that reads nothing has waiting stays small, over either', async (t) => {
  const proxy = await startProxy(t)
  // Nearly as long as a head may be, and nothing that can be made shorter: 40 MB of them.
  const hint = `HTTP/1.1 103 Early Hints\r\nX-Long: ${randomBytes(20_000).toString('hex')}\r\n\r\n`
  let taken = (): void => undefined
  const say = (socket: Socket): void => {
    let sent = 0
    const more = (): void => {
      while (sent < MAX_INFORMATIONAL) {
        sent += 1
        if (!socket.write(hint)) return void socket.once('drain', more)
      }
      socket.write(OK, () => taken())
    }
    more()
  }
  const allTaken = (): Promise<void> => new Promise((resolve) => (taken = resolve))

  const plain = await startTcpOrigin(t, (socket) => void socket.once('data', () => say(socket)))
  const one = await openRaw(t, proxy.port)
  one.socket.pause()
  const took = allTaken()
  one.socket.write(
    `GET http://origin.test:${plain}/ HTTP/1.1\r\nHost: origin.test:${plain}\r\nConnection: close\r\n\r\n`,
  )
  await took
  one.socket.resume()
  const { text } = await one.closed()
  t.match(text.slice(-200), /HTTP\/1\.1 200 OK[\s\S]*ok$/)
  t.ok(text.length > hint.length && text.length < KERNEL_BYTES, `HTTP/1.1: ${text.length} bytes`)

  const secure = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', ({ socket }) => say(socket))
  const deaf = await openHttp2Socket(t, proxy, secure.port)
  const tookToo = allTaken()
  deaf.pause()
  const asking = get(`origin.test:${secure.port}`)
  deaf.write(Buffer.concat([opening, frame(FRAME.headers, END_HEADERS | END_STREAM, 1, asking)]))
  await tookToo
  let bytes = 0
  let body = ''
  await new Promise<void>((resolve) => {
    let rest = Buffer.alloc(0)
    deaf.on('data', (piece: Buffer) => {
      bytes += piece.length
      rest = Buffer.concat([rest, piece])
      for (const { type, payload } of framesOf(rest)) {
        rest = rest.subarray(9 + payload.length)
        if (type === FRAME.data) body += payload.toString()
      }
      if (body !== '') resolve()
    })
    deaf.once('close', resolve)
    deaf.resume()
  })
  t.equal(body, 'ok')
  t.ok(bytes > hint.length / 2 && bytes < KERNEL_BYTES, `HTTP/2: ${bytes} bytes`)
})
