import { once } from 'node:events'
import { connect, constants, createServer as createHttp2Server, type Http2Stream } from 'node:http2'
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import t, { type Test } from 'tap'
import { resetStream } from '../../h2/reset-stream.js'
import { createLeafIssuer } from '../../tls/leaf.js'
import { openRaw, startProxy, type TestProxy } from '../../../test/lab/harness.js'
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  fields,
  frame,
  framesOf,
  get,
  opening,
  PREFACE,
} from '../../../test/lab/frames.js'
import { openHttp2 } from '../../../test/lab/origins/http2-ends.js'

// A body that is broken off never passes for a whole one, wherever the proxy is when it breaks it off, and on no
// version of Node does it end the process.

const ANSWER = frame(FRAME.headers, END_HEADERS, 1, fields([':status', '200']))
const WHOLE_ANSWERS: Readonly<Record<string, Buffer>> = {
  'a head only': frame(FRAME.headers, END_HEADERS | END_STREAM, 1, fields([':status', '204'])),
  'a head and a body in one packet': Buffer.concat([
    ANSWER,
    frame(FRAME.data, END_STREAM, 1, Buffer.from('no')),
  ]),
  'a head, a body and trailers': Buffer.concat([
    ANSWER,
    frame(FRAME.data, 0, 1, Buffer.from('no')),
    frame(FRAME.headers, END_HEADERS | END_STREAM, 1, fields(['x-last', 'yes'])),
  ]),
}

/** How the sender of a stream ended it. */
type Ending = 'END_STREAM' | `RST_STREAM ${number}`

/** Says `answer` as soon as it is asked, and tells how stream 1 ends. */
function peer(socket: Socket, from: number, answer: () => Buffer): Promise<Ending> {
  let bytes = Buffer.alloc(0)
  let asked = false
  socket.on('error', () => undefined)
  socket.write(frame(FRAME.settings, 0, 0))
  return new Promise((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      for (const { type, flags, stream, payload } of framesOf(bytes.subarray(from))) {
        if (stream !== 1) continue
        if (type === FRAME.rstStream) resolve(`RST_STREAM ${payload.readUInt32BE(0)}`)
        else if ((flags & END_STREAM) !== 0) resolve('END_STREAM')
        if (asked) continue
        asked = true
        socket.write(answer())
      }
    })
  })
}

/** A server that answers an upload before it has come; resolves with its port and how each upload ends. */
async function startHastyServer(
  t: Test,
  proxy: TestProxy,
  answer: Buffer,
): Promise<{ port: number; ended: Promise<Ending> }> {
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  const key = { key: issuer.keyPem, cert: issuer.issue('origin.test'), ALPNProtocols: ['h2'] }
  const server = createTlsServer(key)
  const ended = new Promise<Ending>((resolve) => {
    server.on('secureConnection', (socket) => {
      t.teardown(() => socket.destroy())
      void peer(socket, PREFACE.length, () => answer).then(resolve)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, ended }
}

/** Begins an upload that never ends. */
async function uploadByHttp1(t: Test, proxy: TestProxy, target: string): Promise<void> {
  const raw = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const secure = connectTls({ socket: raw.socket, ca: proxy.caPem, servername: 'origin.test' })
  secure.on('error', () => undefined)
  secure.resume()
  secure.write(`POST / HTTP/1.1\r\nHost: ${target}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n`)
}

t.test(
  'an upload that is answered before its end is reset, and does not end as if it were whole',
  async (t) => {
    const proxy = await startProxy(t)
    for (const [name, answer] of Object.entries(WHOLE_ANSWERS)) {
      const cancelled: Ending = `RST_STREAM ${constants.NGHTTP2_CANCEL}`
      const forOld = await startHastyServer(t, proxy, answer)
      await uploadByHttp1(t, proxy, `origin.test:${forOld.port}`)
      t.equal(await forOld.ended, cancelled, `${name}, HTTP/1.1`)

      const forNew = await startHastyServer(t, proxy, answer)
      const session = await openHttp2(t, proxy, forNew.port)
      const stream = session.request({ ':method': 'POST', ':path': '/' }, { endStream: false })
      stream.on('error', () => undefined)
      stream.resume()
      stream.write('the beginning')
      t.equal(await forNew.ended, cancelled, `${name}, HTTP/2`)
    }
  },
)

t.test('a stream is reset from inside of what its connection has just read', async (t) => {
  const codes = [constants.NGHTTP2_CANCEL, constants.NGHTTP2_INTERNAL_ERROR, constants.NGHTTP2_REFUSED_STREAM]
  for (const code of codes) {
    const told: Ending = `RST_STREAM ${code}`
    for (const event of ['response', 'data', 'end'] as const) {
      t.equal(await resetByClient(t, event, code), told, `a client's, in '${event}'`)
    }
    for (const event of ['ping', 'stream', 'end'] as const) {
      t.equal(await resetByServer(t, event, code), told, `a server's, in '${event}'`)
    }
  }
})

const begun = (stream: Http2Stream): void => {
  stream.on('error', () => undefined)
  stream.write('the beginning')
}

/** Resets an upload in an event of its answer, which is whole. */
async function resetByClient(t: Test, event: 'response' | 'data' | 'end', code: number): Promise<Ending> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  session.on('error', () => undefined)
  const stream = session.request(
    { ':method': 'POST', ':path': '/' },
    { endStream: false, waitForTrailers: true },
  )
  begun(stream)
  stream.on(event, () => resetStream(stream, code))
  stream.resume()
  const [socket] = await accepted
  t.teardown(() => {
    session.destroy()
    socket.destroy()
    server.close()
  })
  const answer = WHOLE_ANSWERS['a head and a body in one packet'] ?? Buffer.alloc(0)
  return peer(socket, PREFACE.length, () => answer)
}

/** Resets an answer in an event of its connection, after the request has ended. */
async function resetByServer(t: Test, event: 'ping' | 'stream' | 'end', code: number): Promise<Ending> {
  const server = createHttp2Server()
  server.once('session', (session) => {
    session.on('error', () => undefined)
    session.once('stream', (stream) => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true })
      begun(stream)
      stream.resume()
      const emitter = event === 'end' ? stream : session
      emitter.once(event, () => resetStream(stream, code))
    })
    t.teardown(() => session.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const socket = connectTcp((server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  const whole = event === 'end' ? 0 : END_STREAM
  socket.write(Buffer.concat([opening, frame(FRAME.headers, END_HEADERS | whole, 1, get('origin.test'))]))
  const next = {
    ping: frame(FRAME.ping, 0, 0, Buffer.alloc(8)),
    stream: frame(FRAME.headers, END_HEADERS, 3, get('origin.test')),
    end: frame(FRAME.data, END_STREAM, 1, Buffer.from('the end')),
  }
  return peer(socket, 0, () => next[event])
}
