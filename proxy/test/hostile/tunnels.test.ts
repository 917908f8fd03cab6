import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import t, { type Test } from 'tap'
import { silentLogger, type Logger } from '../../../base/log/logger.js'
import {
  openRaw,
  startHttpOrigin,
  startProxy,
  startTcpOrigin,
  type TestProxy,
} from '../../../test/lab/harness.js'
import { Conversation } from './conversation.js'
import { admitted, open } from './ways.js'
import { Witness } from './witness.js'

// What is in a tunnel goes where the tunnel goes, and nothing in it passes for what it is not.

const TUNNELS = ['CONNECT', 'TLS in SOCKS'] as const

t.test('a server name that is not the tunnel\u2019s is answered with 421, and reaches nobody', async (t) => {
  const proxy = await startProxy(t)
  const witness = await Witness.start(t, proxy.originAuthority)
  const at = `origin.test:${witness.httpsPort}`
  const names: readonly [name: string | false, status: number][] = [
    ['origin.test', 200],
    ['ORIGIN.Test', 200],
    ['origin.test.', 200],
    [false, 200],
    [`origin.test:${witness.httpsPort}`, 200],
    ['other.test', 421],
    ['sub.origin.test', 421],
    ['test', 421],
    ['origin.test.other.test', 421],
    ['origin.test:1', 421],
    ['xn--rigin-ugc.test', 421],
    ['*.test', 421],
    ['a'.repeat(200), 421],
  ]
  for (const way of TUNNELS) {
    for (const [serverName, status] of names) {
      const conversation = await admitted(t, proxy, way, at, { serverName })
      for (const path of ['/1', '/2']) {
        conversation.send(`GET ${path} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
        const answer = await conversation.answer()
        t.equal(answer === 'cut' ? 0 : answer.status, status, `${way}, ${String(serverName)}, ${path}`)
      }
      t.equal((await witness.taken()).length, status === 200 ? 2 : 0)
    }
  }
})

/** The first flight of a TLS client. */
async function helloFor(options: ConnectionOptions): Promise<Buffer> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const first = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => socket.once('data', resolve))
  })
  const client = connectTls({ port, host: '127.0.0.1', ...options })
  client.on('error', () => undefined)
  const hello = await first
  client.destroy()
  server.close()
  return hello
}

/** The same handshake message in records of `size` bytes. */
function inRecords(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5, 5 + hello.readUInt16BE(3))
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size)
    records.push(Buffer.from([0x16, 3, 1, part.length >> 8, part.length & 0xff]), part)
  }
  return Buffer.concat(records)
}

/** The hello with its server name written over by one of the same length. */
const renamed = (hello: Buffer, from: string, to: string): Buffer =>
  Buffer.from(hello.toString('latin1').replace(from, to), 'latin1')

t.test(
  'passthrough: a hello that names another server, or cannot be read, ends in an alert and a line',
  async (t) => {
    const lines: { problem?: string }[] = []
    const logger: Logger = { ...silentLogger, warn: (fields: object) => void lines.push(fields) }
    const proxy = await startProxy(t, { passthrough: ['pinned.test'], logger })
    let received = 0
    const port = await startTcpOrigin(t, (socket) => {
      socket.on('data', (chunk: Buffer) => (received += chunk.length))
      socket.on('end', () => socket.end())
    })
    const hello = await helloFor({ servername: 'pinned.test' })
    const other = renamed(hello, 'pinned.test', 'secret.test')
    const NAME = 0x70
    const DECODE = 0x32
    const cases: readonly [what: string, bytes: Buffer, alert: number, problem: RegExp][] = [
      ['another name', other, NAME, /server name "secret\.test" does not name pinned\.test/],
      ['another name in many records', inRecords(other, 64), NAME, /"secret\.test"/],
      ['a name below it', await helloFor({ servername: 'a.pinned.test' }), NAME, /"a\.pinned\.test"/],
      ['a NUL in it', renamed(hello, 'pinned.test', 'pinne\0.test'), NAME, /server name/],
      ['more records than any client sends', inRecords(hello, 1), DECODE, /cannot be read/],
      ['a record of nothing', Buffer.from([0x16, 3, 1, 0, 0]), DECODE, /cannot be read/],
      ['a record too large', Buffer.from([0x16, 3, 1, 0xff, 0xff]), DECODE, /cannot be read/],
      ['another handshake message', Buffer.from([0x16, 3, 1, 0, 4, 2, 0, 0, 0]), DECODE, /cannot be read/],
      ['an empty hello', Buffer.from([0x16, 3, 1, 0, 4, 1, 0, 0, 0]), DECODE, /cannot be read/],
      [
        'a hello that ends in the middle',
        Buffer.from([0x16, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3]),
        DECODE,
        /cannot be read/,
      ],
      [
        'the second record is no handshake',
        Buffer.concat([inRecords(hello, 64).subarray(0, 69), Buffer.from([0x17, 3, 1, 0, 1, 0])]),
        DECODE,
        /cannot be read/,
      ],
    ]
    for (const [what, bytes, alert, problem] of cases) {
      for (const form of ['CONNECT', 'SOCKS'] as const) {
        lines.length = 0
        const inner = new Conversation(await passThroughTo(t, proxy, form, `pinned.test:${port}`))
        inner.send(bytes)
        const answer = Buffer.from(await inner.rest(), 'latin1')
        t.strictSame([...answer], [0x15, 3, 3, 0, 2, 2, alert], `${what}, ${form}`)
        t.match(lines, [{ problem }], `${what}, ${form}: logged`)
      }
    }
    t.equal(received, 0, 'the server has been told nothing')

    for (const [what, bytes] of [
      ['the name in capitals', renamed(hello, 'pinned.test', 'PINNED.Test')],
      ['in a few records', inRecords(hello, 64)],
      ['no name', await helloFor({})],
    ] as const) {
      received = 0
      const socket = await passThroughTo(t, proxy, 'CONNECT', `pinned.test:${port}`)
      for (const byte of bytes.subarray(0, 70)) socket.write(Buffer.from([byte]))
      socket.end(bytes.subarray(70))
      socket.resume()
      await once(socket, 'close')
      t.equal(received, bytes.length, `${what}: passed on untouched`)
    }
  },
)

t.test('passthrough: HTTP without TLS is served as HTTP, one authority and all', async (t) => {
  const proxy = await startProxy(t, { passthrough: ['pinned.test'] })
  const witness = await Witness.start(t, proxy.originAuthority)
  const at = `pinned.test:${witness.httpPort}`
  const conversation = await admitted(t, proxy, 'SOCKS', at)
  for (const [host, status] of [
    ['other.test', 421],
    [at, 200],
  ] as const) {
    conversation.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    t.match(await conversation.answer(), { status })
  }
})

async function passThroughTo(
  t: Test,
  proxy: TestProxy,
  form: 'CONNECT' | 'SOCKS',
  at: string,
): Promise<import('node:net').Socket> {
  if (form === 'CONNECT') {
    const outer = new Conversation(await open(t, proxy.port))
    outer.send(`CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
    t.match(await outer.answer('CONNECT'), { status: 200 })
    return outer.release()
  }
  return (await admitted(t, proxy, 'SOCKS', at)).release()
}

t.test('nothing that a server may take for HTTP passes a tunnel as raw bytes', async (t) => {
  const proxy = await startProxy(t)
  let received = ''
  const port = await startTcpOrigin(t, (socket) => {
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
      socket.write('.')
    })
  })
  const host = 'Host: other.test\r\n\r\n'
  const http = [
    ['GET / HTTP/1.1', 421],
    ['\r\nGET / HTTP/1.1', 421],
    ['\n\n\r\nGET / HTTP/1.1', 421],
    ['get / HTTP/1.1', 400],
    ['GET\t/ HTTP/1.1', 400],
    ['GET  / HTTP/1.1', 421],
    ['BREW / HTTP/1.1', 400],
    ['X / HTTP/1.0', 400],
    ['GET / http/1.1', 400],
    ['GET / HTTP/1.1 ', 400],
    ['GET /', 505],
    ['GET http://other.test/ HTTP/1.1', 421],
    ['GET http://other.test/', 505],
    ['OPTIONS * HTTP/1.1', 421],
    ['POST /\x0bHTTP/1.1', 400],
    ['\x00\x01GET / HTTP/1.1', 400],
    [`GET /${'a'.repeat(70_000)} HTTP/1.1`, 431],
  ] as const
  for (const form of ['CONNECT', 'SOCKS'] as const) {
    for (const [line, status] of http) {
      const inner = new Conversation(await passThroughTo(t, proxy, form, `origin.test:${port}`))
      inner.send(`${line}\r\n${host}`)
      const answer = await inner.answer()
      t.equal(answer === 'cut' ? 0 : answer.status, status, `${form}, ${JSON.stringify(line.slice(0, 40))}`)
      inner.socket.destroy()
    }
  }
  t.equal(received, '', 'the server has been told nothing')

  const raw = [
    'GET key\r\n',
    'OPTIONS rtsp://origin.test/ RTSP/1.0\r\nCSeq: 1\r\n\r\n',
    'REGISTER sip:origin.test SIP/2.0\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'EHLO client\r\n',
    '\x00\x01\r\n',
    '\x80\x2e\x01\x03\x01',
  ]
  for (const bytes of raw) {
    received = ''
    const inner = new Conversation(await passThroughTo(t, proxy, 'CONNECT', `origin.test:${port}`))
    inner.send(bytes)
    await once(inner.socket, 'data')
    t.equal(received, bytes, `${JSON.stringify(bytes)} passes`)
    inner.socket.destroy()
  }
})

t.test('CONNECT is refused unless it names one place, in one way', async (t) => {
  const proxy = await startProxy(t)
  const port = await startTcpOrigin(t, (socket) => socket.end('\0reached'))
  const at = `origin.test:${port}`
  const connect = (target: string, lines = `Host: ${target}\r\n`, version = '1.1'): string =>
    `CONNECT ${target} HTTP/${version}\r\n${lines}\r\n`
  const cases: readonly [request: string, answer: RegExp][] = [
    [connect(`http://${at}/`), /^HTTP\/1\.1 400 /],
    [connect(`${at}/`), /^HTTP\/1\.1 400 /],
    [connect(`user@${at}`), /^HTTP\/1\.1 400 /],
    [connect(`user:pw@${at}`), /^HTTP\/1\.1 400 /],
    [connect(`:${port}`), /^HTTP\/1\.1 400 /],
    [connect('origin.test'), /^HTTP\/1\.1 400 /],
    [connect('origin.test:'), /^HTTP\/1\.1 400 /],
    [connect('origin.test:0'), /^HTTP\/1\.1 400 /],
    [connect('origin.test:65536'), /^HTTP\/1\.1 400 /],
    [connect('origin.test:+443'), /^HTTP\/1\.1 400 /],
    [connect('origin.test:0x1bb'), /^HTTP\/1\.1 400 /],
    [connect(`${at}:443`), /^HTTP\/1\.1 400 /],
    [connect(`origin%2etest:${port}`), /^HTTP\/1\.1 400 /],
    [connect(`origin.test,other.test:${port}`), /^HTTP\/1\.1 400 /],
    [connect('/'), /^HTTP\/1\.1 400 /],
    [connect('*'), /^HTTP\/1\.1 400 /],
    [connect(at, 'Host: other.test\r\n'), /^HTTP\/1\.1 421 /],
    [connect(at, `Host: origin.test:1\r\n`), /^HTTP\/1\.1 421 /],
    [connect(at, `Host: ${at}\r\nHost: other.test\r\n`), /^HTTP\/1\.1 400 /],
    [connect(at, `Host: ${at}\r\nHost: ${at}\r\n`), /^HTTP\/1\.1 400 /],
    [connect(at, `Host: ${at}\r\n`, '0.9'), /^HTTP\/1\.1 505 /],
    [connect(at, `Host: ${at}\r\n`, '2.0'), /^HTTP\/1\.1 505 /],
    [connect(at, `Host: ${at}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n`), /^HTTP\/1\.1 400 /],
    [connect(at, 'Host: origin.test\r\n'), /^HTTP\/1\.1 200 [\s\S]*reached$/],
    [connect(at, `Host: ${at}\r\nContent-Length: 0\r\n`), /^HTTP\/1\.1 200 [\s\S]*reached$/],
    [connect(at, ''), /^HTTP\/1\.1 200 [\s\S]*reached$/],
    [connect(at, '', '1.0'), /^HTTP\/1\.1 200 [\s\S]*reached$/],
  ]
  for (const [request, answer] of cases) {
    const client = await openRaw(t, proxy.port, request)
    t.match((await client.closed()).text, answer, JSON.stringify(request))
  }
})

t.test('CONNECT inside a tunnel is refused in each of them', async (t) => {
  const proxy = await startProxy(t)
  const witness = await Witness.start(t, proxy.originAuthority)
  for (const way of ['CONNECT', 'SOCKS', 'TLS in SOCKS'] as const) {
    const at = `origin.test:${way === 'SOCKS' ? witness.httpPort : witness.httpsPort}`
    const conversation = await admitted(t, proxy, way, at)
    conversation.send(`CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
    t.match(await conversation.answer(), { status: 405 }, way)
    t.equal(await conversation.answer(), 'cut', `${way}: and the connection ends`)
  }
  t.strictSame(await witness.taken(), [])
})

t.test(
  'what switches the connection behind an unfinished answer cuts it: their bytes would mix',
  async (t) => {
    const proxy = await startProxy(t)
    const held: (() => void)[] = []
    const { server, port } = await startHttpOrigin(t, (_request, response) => {
      held.push(() => response.end('late'))
      server.emit('held')
    })
    const at = `origin.test:${port}`
    const first = `GET http://${at}/ HTTP/1.1\r\nHost: ${at}\r\n\r\n`
    for (const second of [
      `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
      `GET http://${at}/ws HTTP/1.1\r\nHost: ${at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
      `GET http://${at}/h2c HTTP/1.1\r\nHost: ${at}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
    ]) {
      const isHeld = once(server, 'held')
      const client = await openRaw(t, proxy.port, first)
      await isHeld
      client.socket.write(second)
      t.equal((await client.closed()).text, '', JSON.stringify(second.slice(0, 30)))
    }
    t.equal(held.length, 3, 'nothing else reached the origin')
  },
)

t.test('SOCKS5 is refused in its own words, whatever is wrong', async (t) => {
  const proxy = await startProxy(t)
  const hello = [5, 1, 0]
  const name = (text: string): number[] => [3, text.length, ...Buffer.from(text, 'latin1')]
  const cases: readonly [what: string, bytes: readonly number[], reply: readonly number[]][] = [
    ['no method at all', [5, 0], [5, 0xff]],
    ['only passwords', [5, 1, 2], [5, 0xff]],
    ['only GSSAPI and private methods', [5, 3, 1, 0x80, 0xfe], [5, 0xff]],
    ['another version in the request', [...hello, 4, 1, 0, 1, 127, 0, 0, 1, 0, 80], [5, 0, 5, 1]],
    ['BIND', [...hello, 5, 2, 0, 1, 127, 0, 0, 1, 0, 80], [5, 0, 5, 7]],
    ['UDP ASSOCIATE', [...hello, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0], [5, 0, 5, 7]],
    ['an unknown address type', [...hello, 5, 1, 0, 2, 1, 1], [5, 0, 5, 8]],
    ['an empty name', [...hello, 5, 1, 0, 3, 0, 0, 80], [5, 0, 5, 1]],
    ['port 0', [...hello, 5, 1, 0, ...name('origin.test'), 0, 0], [5, 0, 5, 1]],
    ['a NUL in a name', [...hello, 5, 1, 0, ...name('origin\0.test'), 0, 80], [5, 0, 5, 1]],
    ['a line break in a name', [...hello, 5, 1, 0, ...name('a\r\nHost: b'), 0, 80], [5, 0, 5, 1]],
    ['a port in a name', [...hello, 5, 1, 0, ...name('origin.test:1'), 0, 80], [5, 0, 5, 1]],
    ['a user in a name', [...hello, 5, 1, 0, ...name('a@origin.test'), 0, 80], [5, 0, 5, 1]],
    ['a zone', [...hello, 5, 1, 0, ...name('fe80::1%eth0'), 0, 80], [5, 0, 5, 1]],
    ['the metadata address', [...hello, 5, 1, 0, 1, 169, 254, 169, 254, 0, 80], [5, 0, 5, 2]],
    [
      'the same, mapped',
      [...hello, 5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 169, 254, 169, 254, 0, 80],
      [5, 0, 5, 2],
    ],
    ['the same as a name', [...hello, 5, 1, 0, ...name('0xa9fea9fe'), 0, 80], [5, 0, 5, 2]],
    ['our own port', [...hello, 5, 1, 0, 1, 127, 0, 0, 1, proxy.port >> 8, proxy.port & 0xff], [5, 0, 5, 2]],
    ['SOCKS4', [4, 1, 0, 80, 127, 0, 0, 1, 0], [0, 0x5b]],
  ]
  for (const [what, bytes, reply] of cases) {
    const client = await openRaw(t, proxy.port, Buffer.from([...bytes]))
    const told = Buffer.from((await client.closed()).text, 'latin1')
    t.strictSame([...told.subarray(0, reply.length)], reply, what)
  }
})

t.test('a client that fills a pipe with requests and reads nothing holds nobody else up', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('x'.repeat(100_000)))
  const at = `origin.test:${port}`
  const greedy = await open(t, proxy.port)
  greedy.pause()
  greedy.write(`GET http://${at}/ HTTP/1.1\r\nHost: ${at}\r\n\r\n`.repeat(2_000))
  const other = httpRequest({ port: proxy.port, path: `http://${at}/`, headers: { Host: at } })
  other.end()
  const [response] = (await once(other, 'response')) as [import('node:http').IncomingMessage]
  t.equal(response.statusCode, 200)
  response.resume()
  await once(response, 'end')
})
