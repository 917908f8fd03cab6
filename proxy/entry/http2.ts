import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  constants,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { entry, type Entry } from '../../base/process/entry.js'
import type { Logger } from '../../base/log/logger.js'
import type { ClientConnection, Exchanges } from '../exchange/exchange.js'
import { watchIdle } from '../socket/idle-watch.js'
import { sendRefusal } from '../exchange/refusal.js'
import { cutSession, endSession } from '../h2/end-session.js'
import { FloodGauge } from './flood-gauge.js'
import { Http2Request } from '../h2/request.js'
import { resetStream } from '../h2/reset-stream.js'
import { Http2Response } from '../h2/response.js'

// client → TLS ended here, ALPN h2 → one exchange a stream

/** What RFC 9113, 6.5.2 recommends at least, times 2.5: a page of many parts needs no second connection. */
const MAX_STREAMS = 250
/** More fields than any client sends; each costs its own memory, however short it is. */
const MAX_HEADER_FIELDS = 1_000
/** What a stream may hold that nobody reads; times MAX_STREAMS, 64 MiB for a connection that tries to hurt. */
const STREAM_WINDOW_BYTES = 256 * 1024
/** What waits to be sent on one connection, in MB: twice what MAX_STREAMS answers hand over at a time. */
const MAX_SESSION_MEMORY_MB = 64
/** Last words of a connection that is told to calm down. */
const FAREWELL_MS = 1_000

interface Http2FrontOptions {
  /** For which a connection without a request is kept. */
  readonly keepAliveMs: () => number
  readonly exchanges: Exchanges
  readonly logger: Logger
}

/** Serves the connections of clients that chose HTTP/2 in their TLS handshake. */
export class Http2Front {
  readonly #options: Http2FrontOptions
  readonly #sessions = new Set<ServerHttp2Session>()
  /** Made for the first connection: Node's part of it takes a start 3 ms to bring in. */
  #server: Http2Server | undefined
  #headerBytes: number | undefined

  constructor(options: Http2FrontOptions) {
    this.#options = options
  }

  /** Of connections that begin from now on. */
  limitHeaders(bytes: number): void {
    this.#headerBytes = bytes
    this.#server?.updateSettings({ maxHeaderListSize: bytes })
  }

  accept(inner: TLSSocket, client: ClientConnection): void {
    // HTTP/2 has no half-open connections; ours are, for tunnels, and a client that left would never be let go of.
    inner.allowHalfOpen = false
    // Emitted within the next call.
    this.#server ??= this.#open()
    this.#server.once(
      'session',
      entry(
        { name: 'HTTP/2', logger: this.#options.logger, ends: (_session) => client.socket },
        (session: ServerHttp2Session) => this.#serve(session, inner, client),
      ),
    )
    this.#server.emit('connection', inner)
    // What the session waits for. Node says it for its own servers' sockets and for clients', not for one whose
    // TLS was begun by hand; its handshake is done.
    inner.emit('secureConnect')
  }

  /** Tells every client to open no more streams; connections end with those that are open. */
  close(): void {
    for (const session of this.#sessions) session.close()
  }

  /** Listens on nothing: connections are handed to it. */
  #open(): Http2Server {
    return createServer({
      maxSessionMemory: MAX_SESSION_MEMORY_MB,
      maxHeaderListPairs: MAX_HEADER_FIELDS,
      settings: {
        enablePush: false,
        // RFC 8441 is not offered: WebSockets come by HTTP/1.1.
        enableConnectProtocol: false,
        maxConcurrentStreams: MAX_STREAMS,
        initialWindowSize: STREAM_WINDOW_BYTES,
        ...(this.#headerBytes === undefined ? {} : { maxHeaderListSize: this.#headerBytes }),
      },
    })
  }

  #serve(session: ServerHttp2Session, inner: TLSSocket, client: ClientConnection): void {
    this.#sessions.add(session)
    const gauge = new FloodGauge((what) => this.#calm(session, client, what))
    let open = 0
    // Counts from the last stream, not from the last byte: bytes that never make a request are no life. A session
    // that Node destroys for what its peer has sent takes no more streams, and may wait for a write for ever.
    const whenIdle = (): NodeJS.Timeout =>
      setTimeout(
        () => endSession(session, client.socket),
        session.destroyed ? 0 : this.#options.keepAliveMs(),
      )
    let idle = whenIdle()
    // A stream whose last bytes cannot be sent any more never closes. Twice the limit, because an upstream that is
    // silent for all of it is still to be answered for with 504. The session's own timer ends when it is destroyed.
    const stop = watchIdle({
      limitMs: 2 * this.#options.exchanges.idleMs,
      progress: () => client.socket.bytesRead + client.socket.bytesWritten,
      onIdle: () => cutSession(session, client.socket),
    })
    session.on('error', () => undefined)
    session.on('ping', () => gauge.add('pings'))
    session.on('remoteSettings', () => gauge.add('settings'))
    session.once('close', () => {
      this.#sessions.delete(session)
      clearTimeout(idle)
      stop()
      // The session lets go of a connection it was handed without closing it.
      inner.destroy()
      client.socket.destroy()
    })
    session.on(
      'stream',
      entry(this.#entered(client), (stream, headers, _flags, raw) => {
        open += 1
        clearTimeout(idle)
        stream.once('close', () => {
          open -= 1
          if (open === 0) idle = whenIdle()
        })
        stream.on('aborted', () => gauge.add('resets'))
        if (stream.closed) gauge.add('resets')
        return this.#answer(stream, headers, raw, client)
      }),
    )
  }

  /** One stream ends with its fault; the others of its connection go on. */
  #entered(
    client: ClientConnection,
  ): Entry<[stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: string[]]> {
    const { remoteAddress, remotePort } = client.socket
    return {
      name: 'HTTP/2',
      logger: this.#options.logger,
      ends: (stream) => ({
        remoteAddress,
        remotePort,
        destroy: () => resetStream(stream, constants.NGHTTP2_INTERNAL_ERROR),
      }),
    }
  }

  #answer(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    raw: string[],
    client: ClientConnection,
  ): Promise<void> | void {
    const request = new Http2Request(stream, headers, raw)
    const response = new Http2Response(stream, request)
    if (stream.closed || stream.destroyed) {
      response.destroy()
      return
    }
    // RFC 9113, 8.3.1 and 8.1.1: malformed. Node resets the stream by itself from 24 on.
    if (request.pseudo.authority?.includes('@') === true) {
      response.reset(constants.NGHTTP2_PROTOCOL_ERROR)
      return
    }
    if (request.method === 'CONNECT') {
      sendRefusal(response, { status: 405, type: 'http_request_denied', message: 'CONNECT inside a tunnel' })
      return
    }
    return this.#options.exchanges.serve(request, response, client)
  }

  #calm(session: ServerHttp2Session, client: ClientConnection, what: string): void {
    if (session.destroyed) return
    const host = client.tunnel?.target.authority
    this.#options.logger.warn({ host, problem: `too many ${what}` }, 'closing an HTTP/2 connection')
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM)
    setTimeout(() => cutSession(session, client.socket), FAREWELL_MS).unref()
  }
}
