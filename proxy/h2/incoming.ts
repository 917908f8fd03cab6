import { constants, type Http2Stream, type IncomingHttpHeaders } from 'node:http2'
import { Readable } from 'node:stream'
import { headerValue } from '../message/headers.js'
import { rawFields } from './fields.js'
import { streamError } from './stream-error.js'

/**
 * The readable half of an HTTP/2 stream. It ends only when the peer has said END_STREAM; however else the stream
 * ends, it is destroyed with an error, so that a part cannot pass for the whole.
 *
 * The peer may send as long as somebody reads: unread bytes hold its window closed.
 */
export class Http2Incoming extends Readable {
  readonly rawHeaders: string[]
  readonly rawTrailers: string[] = []
  readonly #stream: Http2Stream
  #complete: boolean
  #received = 0

  /** To be made before the event loop goes on, or the end of a short body goes unseen. */
  constructor(stream: Http2Stream, rawHeaders: string[]) {
    super()
    this.rawHeaders = rawHeaders
    this.#stream = stream
    this.#complete = stream.endAfterHeaders || isClosedByPeer(stream)
    this.#watchEnd()
    // The one who made the request may have stopped listening by the time it breaks off.
    this.on('error', () => undefined)
    stream.pause()
    stream.on('data', (chunk: Buffer) => {
      this.#received += chunk.length
      if (!this.push(chunk)) stream.pause()
    })
    stream.on('trailers', (fields: IncomingHttpHeaders, _flags: number, raw?: string[]) => {
      this.rawTrailers.push(...rawFields(fields, raw))
    })
    stream.once('end', () => {
      if (this.#complete) this.push(null)
    })
    stream.once('close', () => {
      if (!this.#complete) this.destroy(streamError(stream))
    })
  }

  /** Bytes that have come. */
  get received(): number {
    return this.#received
  }

  /** The peer has sent all of it. */
  get complete(): boolean {
    return this.#complete
  }

  override _read(): void {
    this.#stream.resume()
  }

  /**
   * Node ends its readable side in the same way for END_STREAM and for RST_STREAM with NO_ERROR. In the second
   * case the stream is already closed when the end is pushed.
   */
  #watchEnd(): void {
    const stream = this.#stream
    const push = stream.push.bind(stream)
    stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
      if (chunk === null && !stream.destroyed && (!stream.closed || this.#mayBeWhole())) this.#complete = true
      return push(chunk, encoding)
    }
  }

  /**
   * While more waits to be read than a stream holds, Node may not pass END_STREAM on, and says only that it closed
   * without an error. That is a whole body unless its length says otherwise. Below that it is a reset with NO_ERROR,
   * also where nobody has begun to read.
   */
  #mayBeWhole(): boolean {
    const { rstCode, readableLength, readableHighWaterMark } = this.#stream
    if (rstCode !== constants.NGHTTP2_NO_ERROR || readableLength < readableHighWaterMark) return false
    const length = headerValue(this.rawHeaders, 'content-length')
    return length === undefined || Number(length) === this.#received + readableLength
  }
}

function isClosedByPeer({ closed, destroyed, state }: Http2Stream): boolean {
  return !closed && !destroyed && state.state === constants.NGHTTP2_STREAM_STATE_HALF_CLOSED_REMOTE
}
