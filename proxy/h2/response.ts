import { constants, type ServerHttp2Stream, type ServerStreamResponseOptions } from 'node:http2'
import { Writable } from 'node:stream'
import type { RawHeaders } from '../message/headers.js'
import type { ClientResponse } from '../message/message.js'
import { toHttp2Fields, toHttp2Trailers } from './fields.js'
import type { Http2Request } from './request.js'
import { resetStream } from './reset-stream.js'

/**
 * What one stream hands to its connection at a time: bytes that wait there count as memory of the connection,
 * which has to do for all its streams. The cache writes 1 MiB at once.
 */
const PIECE_BYTES = 128 * 1024

/** As many as there may be streams (MAX_STREAMS), with some air: each may have a hint. */
const MAX_WAITING_FRAMES = 1_000
/** Of 1xx answers, each of which may be as long as a head: as much as waits for a client of HTTP/1.1. */
const MAX_WAITING_BYTES = 64 * 1024

/** The answer on one HTTP/2 stream, used like the `ServerResponse` of HTTP/1.1. */
export class Http2Response extends Writable implements ClientResponse {
  readonly req: { readonly method: string; readonly httpVersion: string }
  statusCode = 200
  sendDate = false
  /** Without meaning here: one stream never decides for the connection. */
  shouldKeepAlive = true
  bodyBytes = 0
  readonly #stream: ServerHttp2Stream
  readonly #request: Http2Request
  #head: RawHeaders | undefined
  #trailers: RawHeaders = []
  /** Of 1xx answers, since nothing waited for the client. */
  #informedBytes = 0

  constructor(stream: ServerHttp2Stream, request: Http2Request) {
    super({ highWaterMark: PIECE_BYTES })
    this.#stream = stream
    this.#request = request
    this.req = { method: request.method, httpVersion: '2.0' }
    // A reset shows as 'close', which is all anybody needs to know.
    stream.on('error', () => undefined)
    this.on('error', () => undefined)
    stream.on('wantTrailers', () => stream.sendTrailers(toHttp2Trailers(this.#trailers)))
    stream.once('close', () => this.destroy())
  }

  get headersSent(): boolean {
    return this.#head !== undefined
  }

  /** @throws for a status that Node does not send, so that it can still be said instead of being a reset. */
  writeHead(status: number, _reason: string | undefined, headers: string[]): this {
    if (status < 200 || status > 599) {
      const code = 'ERR_HTTP2_STATUS_INVALID'
      throw Object.assign(new Error(`cannot send the status ${status} by HTTP/2`), { code })
    }
    this.statusCode = status
    this.#head = headers
    return this
  }

  flushHeaders(): void {
    this.#respond(false)
  }

  addTrailers(trailers: [string, string][]): void {
    this.#trailers = trailers.flat()
  }

  inform(status: number, headers: RawHeaders): void {
    // RFC 9113, 8.6: no 101 in HTTP/2.
    if (status === 101 || this.destroyed || this.#stream.destroyed || this.#stream.closed) return
    // A client that reads nothing gets no more of them: upstream may send them without end.
    const waiting = this.#stream.session?.state.outboundQueueSize ?? 0
    if (waiting === 0) this.#informedBytes = 0
    if (waiting > MAX_WAITING_FRAMES || this.#informedBytes > MAX_WAITING_BYTES) return
    for (const text of headers) this.#informedBytes += text.length
    this.#stream.additionalHeaders({ ...toHttp2Fields(headers), ':status': status })
  }

  reset(http2Code: number = constants.NGHTTP2_INTERNAL_ERROR): void {
    resetStream(this.#stream, http2Code)
    this.destroy()
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#respond(false)
    const piece = chunk.subarray(0, PIECE_BYTES)
    // Node says so when the connection has taken the bytes, so they may be used again afterwards.
    this.#stream.write(piece, (error) => {
      this.bodyBytes += piece.length
      if (piece.length === chunk.length || (error !== null && error !== undefined)) done(error)
      else this._write(chunk.subarray(PIECE_BYTES), encoding, done)
    })
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#respond(true)
    // A head without a body has ended the stream with it.
    if (this.#stream.writableEnded) done()
    else this.#stream.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.writableFinished) resetStream(this.#stream, constants.NGHTTP2_INTERNAL_ERROR)
    // RFC 9113, 8.1: the answer is whole, and the rest of the upload is not wanted.
    else if (!this.#request.complete) setImmediate(() => this.#abandonUpload())
    // What upstream has not read of it will never be.
    else if (!this.#request.readableEnded) this.#request.resume()
    done(error)
  }

  #abandonUpload(): void {
    this.#stream.close(constants.NGHTTP2_NO_ERROR)
    this.#stream.destroy()
  }

  #respond(end: boolean): void {
    const stream = this.#stream
    if (this.destroyed || stream.headersSent || stream.destroyed || stream.closed) return
    const options: ServerStreamResponseOptions & { readonly sendDate: boolean } = {
      endStream: end && this.#trailers.length === 0,
      // Besides, `resetStream` needs it.
      waitForTrailers: !end || this.#trailers.length > 0,
      // Upstream's to say (RFC 9110, 6.6.1).
      sendDate: false,
    }
    stream.respond({ ...toHttp2Fields(this.#head ?? []), ':status': this.statusCode }, options)
  }
}
