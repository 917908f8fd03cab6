import { once } from 'node:events'
import {
  connect as connectHttp2,
  createSecureServer,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { Test } from 'tap'
import { createLeafIssuer } from '../../../proxy/tls/leaf.js'
import { openRaw, type TestProxy } from '../harness.js'

// The two ends of HTTP/2 traffic through the proxy: a server of it, and a client's connection to one.

interface Http2Origin {
  readonly port: number
  readonly server: Http2SecureServer
  readonly sessions: ServerHttp2Session[]
}

/** An origin that speaks HTTP/2 only, unless `options` say otherwise. */
export async function startHttp2Origin(
  t: Test,
  proxy: TestProxy,
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  options: SecureServerOptions = {},
): Promise<Http2Origin> {
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  const server = createSecureServer({ key: issuer.keyPem, cert: issuer.issue('origin.test'), ...options })
  const sessions: ServerHttp2Session[] = []
  server.on('session', (session) => sessions.push(session))
  server.on('sessionError', () => undefined)
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    onStream(stream, headers)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return { server, sessions, port: (server.address() as AddressInfo).port }
}

/** A client's TLS through CONNECT, on which HTTP/2 was agreed on and nothing said yet. */
export async function openHttp2Socket(t: Test, proxy: TestProxy, port: number): Promise<TLSSocket> {
  const target = `origin.test:${port}`
  const raw = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const socket = connectTls({
    socket: raw.socket,
    ca: proxy.caPem,
    servername: 'origin.test',
    ALPNProtocols: ['h2'],
  })
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect')
  t.equal(socket.alpnProtocol, 'h2')
  return socket
}

/** A client's HTTP/2 connection through CONNECT. */
export async function openHttp2(
  t: Test,
  proxy: TestProxy,
  port: number,
  settings: { readonly initialWindowSize?: number } = {},
): Promise<ClientHttp2Session> {
  const socket = await openHttp2Socket(t, proxy, port)
  const session = connectHttp2(`https://origin.test:${port}`, { createConnection: () => socket, settings })
  session.on('error', () => undefined)
  t.teardown(() => session.destroy())
  return session
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders & IncomingHttpStatusHeader
  readonly body: Buffer
  readonly trailers: IncomingHttpHeaders
  /** 0 for a stream that ended properly. */
  readonly rstCode: number
  /** The body was ended with END_STREAM. */
  readonly ended: boolean
}

/** Reads one answer to its end, whichever end that is. */
export async function reply(stream: ClientHttp2Stream): Promise<Reply> {
  let headers: Reply['headers'] = {}
  let trailers: IncomingHttpHeaders = {}
  let ended = false
  const pieces: Buffer[] = []
  stream.on('response', (fields: Reply['headers']) => void (headers = fields))
  stream.on('trailers', (fields: IncomingHttpHeaders) => void (trailers = fields))
  stream.on('data', (piece: Buffer) => pieces.push(piece))
  stream.on('end', () => (ended = true))
  stream.on('error', () => undefined)
  await new Promise((resolve) => stream.once('close', resolve))
  return {
    status: headers[':status'] ?? 0,
    headers,
    body: Buffer.concat(pieces),
    trailers,
    rstCode: stream.rstCode ?? 0,
    ended: ended && stream.rstCode === 0,
  }
}

export function ask(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: Buffer,
): Promise<Reply> {
  const stream = session.request(headers, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  return reply(stream)
}
