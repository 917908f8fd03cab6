import { createServer as createTlsServer, connect as connectTls, type TLSSocket } from 'node:tls'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createLeafIssuer } from '../../tls/leaf.js'
import { becomes } from '../../../test/lab/becomes.js'
import { openRaw, startHttpsOrigin, startProxy, type TestProxy } from '../../../test/lab/harness.js'
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

// A session that Node destroys for what its peer has sent may wait for ever for a write. Its connection is let go of
// all the same, on both sides of the proxy, and whatever the peer does next.

/** What tells a client of its request. */
const ANSWERS: ReadonlySet<number> = new Set([FRAME.headers, FRAME.rstStream])

const PEER_LIMITS = { headers: 1_000, keep_alive: 1_000, idle: 1_000, connect: 1_000 }

/** RFC 9113: each ends the connection. */
const FATAL: Readonly<Record<string, Buffer>> = {
  'PRIORITY on stream 0': frame(FRAME.priority, 0, 0, Buffer.alloc(5)),
  'RST_STREAM on stream 0': frame(FRAME.rstStream, 0, 0, Buffer.alloc(4)),
  'WINDOW_UPDATE of 0': frame(FRAME.windowUpdate, 0, 0, Buffer.alloc(4)),
  'HEADERS on an even stream': frame(FRAME.headers, END_HEADERS | END_STREAM, 2, get('origin.test')),
  'DATA on stream 0': frame(FRAME.data, 0, 0, Buffer.from('x')),
  'CONTINUATION without HEADERS': frame(FRAME.continuation, END_HEADERS, 1, Buffer.from('x')),
  'SETTINGS of 5 bytes': frame(FRAME.settings, 0, 0, Buffer.alloc(5)),
  PUSH_PROMISE: frame(FRAME.pushPromise, END_HEADERS, 1, Buffer.alloc(8)),
}

const ENDINGS: Readonly<Record<string, (below: Socket, secure: TLSSocket) => void>> = {
  reset: (below) => void below.resetAndDestroy(),
  'end below TLS': (below) => void below.destroySoon(),
  'end of TLS': (_below, secure) => void secure.end(),
  silence: (_below, secure) => void secure.pause(),
}

async function openTlsOverTunnel(t: Test, proxy: TestProxy, target: string): Promise<[Socket, TLSSocket]> {
  const raw = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const secure = connectTls({
    socket: raw.socket,
    ca: proxy.caPem,
    servername: target.split(':')[0] ?? '',
    ALPNProtocols: ['h2'],
  })
  secure.on('error', () => undefined)
  await once(secure, 'secureConnect')
  return [raw.socket, secure]
}

t.test('a client that breaks the protocol in the middle of a stream leaves nothing', async (t) => {
  const proxy = await startProxy(t, { timeouts: PEER_LIMITS })
  const big = Buffer.alloc(4 * 1024 * 1024)
  const origin = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    if (request.url === '/big') response.end(big)
  })
  const authority = `origin.test:${origin.port}`
  const open = async (path: string, fatal: Buffer, leave: (below: Socket, secure: TLSSocket) => void) => {
    const [below, secure] = await openTlsOverTunnel(t, proxy, authority)
    const request = frame(FRAME.headers, END_HEADERS | END_STREAM, 1, get(authority, path))
    secure.write(Buffer.concat([opening, request, fatal]))
    // A turn of the event loop, in which the bytes leave.
    await new Promise((resolve) => setImmediate(resolve))
    leave(below, secure)
  }
  for (const path of ['/silent', '/big']) {
    for (const leave of Object.values(ENDINGS)) {
      await Promise.all(Object.values(FATAL).map((fatal) => open(path, fatal, leave)))
    }
  }
  await becomes(() => proxy.server.connections === 0)
  await becomes(() => proxy.server.traffic.live().length === 0)
  t.equal(proxy.server.connections, 0)
})

/** A server that answers each connection's request in another way; resolves with its port. */
async function startRudeServer(
  t: Test,
  proxy: TestProxy,
  ways: readonly (readonly [answer: Buffer, leave: (below: Socket, secure: TLSSocket) => void])[],
): Promise<number> {
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  const key = { key: issuer.keyPem, cert: issuer.issue('*.origin.test'), ALPNProtocols: ['h2'] }
  const left = [...ways]
  const connections = new Set<Socket>()
  const server = createTlsServer(key, (secure) => {
    secure.on('error', () => undefined)
    secure.write(frame(FRAME.settings, 0, 0))
    let bytes = Buffer.alloc(0)
    secure.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      const asked = [...framesOf(bytes.subarray(24))].some(({ type }) => type === FRAME.headers)
      const [answer, leave] = (asked ? left.pop() : undefined) ?? []
      if (answer === undefined || leave === undefined) return
      secure.removeAllListeners('data')
      secure.write(answer)
      setImmediate(() => {
        const below = [...connections].find(({ remotePort }) => remotePort === secure.remotePort)
        if (below !== undefined) leave(below, secure)
      })
    })
  })
  server.on('connection', (socket: Socket) => {
    connections.add(socket.on('error', () => undefined))
    socket.once('close', () => connections.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of connections) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

t.test('a server that does so leaves nothing either, and every request is answered for', async (t) => {
  const proxy = await startProxy(t, { timeouts: PEER_LIMITS })
  const begin = frame(FRAME.headers, END_HEADERS, 1, fields([':status', '200']))
  const ways = Object.values(FATAL).flatMap((fatal) =>
    Object.values(ENDINGS).flatMap((leave) => [
      [fatal, leave] as const,
      [Buffer.concat([begin, fatal]), leave] as const,
    ]),
  )
  const port = await startRudeServer(t, proxy, ways)
  const asked = ways.map(async (_way, at) => {
    const [, secure] = await openTlsOverTunnel(t, proxy, `w${at}.origin.test:${port}`)
    // An upload keeps a write under way.
    const request = fields(
      ...[[':method', 'POST'] as const, [':scheme', 'https'] as const, [':path', '/'] as const],
      [':authority', `w${at}.origin.test:${port}`],
    )
    const upload = frame(FRAME.data, 0, 1, Buffer.alloc(16_000))
    secure.write(Buffer.concat([opening, frame(FRAME.headers, END_HEADERS, 1, request), upload]))
    let bytes = Buffer.alloc(0)
    await new Promise<void>((resolve) => {
      secure.once('close', resolve)
      secure.on('data', (chunk: Buffer) => {
        bytes = Buffer.concat([bytes, chunk])
        if ([...framesOf(bytes)].some(({ type, stream }) => stream === 1 && ANSWERS.has(type))) resolve()
      })
    })
    const told = [...framesOf(bytes)].some(({ stream }) => stream === 1)
    secure.destroy()
    return told
  })
  t.notOk((await Promise.all(asked)).includes(false), 'nobody was cut off without a word')
  await becomes(() => proxy.server.upstreamConnections === 0)
  await becomes(() => proxy.server.connections === 0)
  await becomes(() => proxy.server.traffic.live().length === 0)
  t.equal(proxy.server.upstreamConnections, 0)
})
