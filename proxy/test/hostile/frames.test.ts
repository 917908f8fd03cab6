import { connect as connectTls, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { startProxy, type TestProxy } from '../../../test/lab/harness.js'
import { ask, openHttp2 as openSession } from '../../../test/lab/origins/http2-ends.js'
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  fields,
  frame,
  framesOf,
  get,
  opening,
} from '../../../test/lab/frames.js'
import { Conversation } from './conversation.js'
import { open } from './ways.js'
import { Witness } from './witness.js'

// HTTP/2 as no library sends it: none of it is answered or reaches upstream, and all of it is let go of.

const EMPTY = Buffer.alloc(0)

interface Client {
  readonly socket: TLSSocket
  /** Resolves with all frames that came once the connection is closed. */
  closed(): Promise<ReturnType<typeof framesOf> extends Generator<infer F> ? F[] : never>
}

async function openHttp2(t: Test, proxy: TestProxy, at: string): Promise<Client> {
  const outer = new Conversation(await open(t, proxy.port))
  outer.send(`CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
  await outer.answer('CONNECT')
  const socket = connectTls({
    socket: outer.release(),
    ca: proxy.caPem,
    servername: 'origin.test',
    ALPNProtocols: ['h2'],
  })
  let bytes: Buffer = EMPTY
  socket.on('data', (chunk: Buffer) => (bytes = Buffer.concat([bytes, chunk])))
  socket.on('error', () => undefined)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  return {
    socket,
    async closed() {
      await closed
      return [...framesOf(bytes)]
    },
  }
}

const headers = (...pairs: readonly (readonly [name: string, value: string])[]): Buffer =>
  frame(FRAME.headers, END_HEADERS | END_STREAM, 1, fields(...pairs))

t.test('frames and fields that RFC 9113 forbids', async (t) => {
  const proxy = await startProxy(t)
  const witness = await Witness.start(t, proxy.originAuthority)
  const at = `origin.test:${witness.httpsPort}`
  const start = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', at],
    [':path', '/'],
  ] as const
  const and = (name: string, value: string): Buffer => headers(...start, [name, value])
  const but = (name: string, value: string): Buffer =>
    headers(...start.map((pair) => (pair[0] === name ? ([name, value] as const) : pair)))
  const without = (name: string): Buffer => headers(...start.filter((pair) => pair[0] !== name))
  const body = frame(FRAME.headers, END_HEADERS, 1, fields(...start, ['content-length', '5']))
  const cases: readonly [what: string, bytes: Buffer][] = [
    ['a capital in a name', and('X-Big', '1')],
    ['Transfer-Encoding', and('transfer-encoding', 'chunked')],
    ['Connection', and('connection', 'x')],
    ['Upgrade', and('upgrade', 'h2c')],
    ['TE: gzip', and('te', 'gzip')],
    ['two methods', and(':method', 'POST')],
    ['two paths', and(':path', '/x')],
    ['two authorities', and(':authority', 'other.test')],
    ['an unknown pseudo field', and(':secret', 'x')],
    ['a status in a request', and(':status', '200')],
    ['a pseudo field behind others', headers(['x', '1'], ...start)],
    ['no method', without(':method')],
    ['no path', without(':path')],
    ['no scheme', without(':scheme')],
    ['an empty path', but(':path', '')],
    ['a space in a path', but(':path', '/ HTTP/1.1')],
    ['a line break in a path', but(':path', '/\r\nHost: other.test')],
    ['a line break in a method', but(':method', 'GET / HTTP/1.1\r\nX: y')],
    [
      'a length that is more than the body',
      Buffer.concat([body, frame(FRAME.data, END_STREAM, 1, Buffer.from('123'))]),
    ],
    [
      'a length that is less than the body',
      Buffer.concat([body, frame(FRAME.data, END_STREAM, 1, Buffer.from('123456'))]),
    ],
    ['a length and no body', headers(...start, ['content-length', '5'])],
    ['two lengths', headers(...start, ['content-length', '0'], ['content-length', '5'])],
    ['DATA on stream 0', frame(FRAME.data, 0, 0, Buffer.from('x'))],
    ['DATA on a stream nobody opened', frame(FRAME.data, 0, 5, Buffer.from('x'))],
    ['HEADERS on stream 0', frame(FRAME.headers, END_HEADERS, 0, get(at))],
    ['HEADERS on a stream of ours', frame(FRAME.headers, END_HEADERS | END_STREAM, 2, get(at))],
    ['PUSH_PROMISE', frame(FRAME.pushPromise, END_HEADERS, 1, Buffer.from([0, 0, 0, 2]))],
    ['CONTINUATION of nothing', frame(FRAME.continuation, END_HEADERS, 1, get(at))],
    [
      'PING in the middle of a header',
      Buffer.concat([
        frame(FRAME.headers, 0, 1, get(at).subarray(0, 5)),
        frame(FRAME.ping, 0, 0, Buffer.alloc(8)),
      ]),
    ],
    ['PING of 7 bytes', frame(FRAME.ping, 0, 0, Buffer.alloc(7))],
    ['SETTINGS of 5 bytes', frame(FRAME.settings, 0, 0, Buffer.alloc(5))],
    ['SETTINGS on a stream', frame(FRAME.settings, 0, 1)],
    [
      'a window of more than 31 bits',
      frame(FRAME.settings, 0, 0, Buffer.from([0, 4, 0xff, 0xff, 0xff, 0xff])),
    ],
    ['a WINDOW_UPDATE of 0', frame(FRAME.windowUpdate, 0, 0, Buffer.alloc(4))],
    [
      'windows that add up to too much',
      Buffer.concat([
        frame(FRAME.windowUpdate, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
        frame(FRAME.windowUpdate, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
      ]),
    ],
    ['a frame larger than allowed', Buffer.concat([frame(FRAME.data, 0, 1, Buffer.alloc(17 * 1024))])],
    [
      'padding larger than its frame',
      frame(FRAME.headers, END_HEADERS | END_STREAM | 8, 1, Buffer.from([200, 0])),
    ],
    [
      'a header that cannot be decompressed',
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
    ],
    ['an index that is not there', frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.from([0xbf]))],
  ]
  for (const [what, bytes] of cases) {
    const { socket, closed } = await openHttp2(t, proxy, at)
    // The connection's own end, for where only the stream is reset.
    socket.end(Buffer.concat([opening, bytes, frame(FRAME.goaway, 0, 0, Buffer.alloc(8))]))
    const answered = (await closed()).some(({ type }) => type === FRAME.headers)
    t.notOk(answered, what)
  }
  t.strictSame(await witness.taken(), [], 'upstream was asked for nothing')
})

t.test('one authority: what :authority, :scheme and Host say must agree', async (t) => {
  const proxy = await startProxy(t)
  const witness = await Witness.start(t, proxy.originAuthority)
  const at = `origin.test:${witness.httpsPort}`
  const cases: readonly [what: string, fields: Readonly<Record<string, string>>, status: number][] = [
    ['the right one', {}, 200],
    ['the right one in capitals', { ':authority': at.toUpperCase() }, 200],
    ['another host', { ':authority': 'other.test' }, 421],
    ['another port', { ':authority': 'origin.test:1' }, 421],
    ['another scheme', { ':scheme': 'http' }, 421],
    ['another Host beside it', { ':authority': at, host: 'other.test' }, 421],
    // RFC 9113, 8.3.1: malformed, so the stream is reset.
    ['a user', { ':authority': `user@${at}` }, 0],
    ['a user and a password', { ':authority': `user:password@${at}` }, 0],
    ['an empty user', { ':authority': `@${at}` }, 0],
    ['a list', { ':authority': `${at},other.test` }, 400],
  ]
  const session = await openSession(t, proxy, witness.httpsPort)
  for (const [what, given, status] of cases) {
    t.equal((await ask(session, { ':path': '/', ...given })).status, status, what)
  }
  t.strictSame(await witness.taken(), ['GET /', 'GET /'])
})
