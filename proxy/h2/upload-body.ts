import type { ClientHttp2Stream } from 'node:http2'
import type { Readable } from 'node:stream'
import { MAX_FIELDS } from '../message/framing.js'
import { toHttp2Trailers } from './fields.js'

/**
 * As much as a server takes of a body before it has looked at the request: the window that a stream begins with
 * (RFC 9113, 6.9.2).
 */
const MAX_KEPT_BYTES = 64 * 1024

/**
 * A request's body, of which the beginning is kept until the request is answered. So it can be sent again to a server
 * that says it has not looked at it, as servers do at the end of a connection.
 */
export class UploadBody {
  readonly #source: Readable
  #kept: Buffer[] | undefined
  #bytes = 0
  #stream: ClientHttp2Stream | undefined
  #isOver = false

  constructor(source: Readable) {
    this.#source = source
  }

  /** Nothing of it has been sent. */
  get isUntouched(): boolean {
    return this.#kept === undefined && this.#bytes === 0
  }

  /** Nothing of it is lost. */
  get isWhole(): boolean {
    return this.#kept !== undefined || this.isUntouched
  }

  /**
   * Sends it as fast as upstream takes it, from its beginning.
   *
   * @param cancel called when the client leaves in the middle of it.
   */
  sendOn(stream: ClientHttp2Stream, cancel: () => void): void {
    this.#stream = stream
    if (this.isUntouched) {
      this.#kept = []
      this.#source.on('data', this.#keep)
    }
    stream.on('wantTrailers', () => {
      const trailers = 'rawTrailers' in this.#source ? (this.#source.rawTrailers as string[]) : []
      if (trailers.length / 2 > MAX_FIELDS) cancel()
      else stream.sendTrailers(toHttp2Trailers(trailers))
    })
    for (const chunk of this.#kept ?? []) stream.write(chunk)
    if (this.#source.readableEnded) stream.end()
    else this.#source.pipe(stream)
    this.#source.once('close', () => {
      if (!this.#source.readableEnded) cancel()
    })
    stream.once('close', () => {
      this.#source.unpipe(stream)
      this.#stream = undefined
      if (this.#isOver) this.#source.resume()
    })
  }

  /** It is not sent again. What is left of it is read to its end, as over HTTP/1.1. */
  over(): void {
    if (this.isUntouched) return
    this.#isOver = true
    this.#forget()
    if (this.#stream === undefined) this.#source.resume()
  }

  readonly #keep = (chunk: Buffer): void => {
    this.#bytes += chunk.length
    if (this.#bytes > MAX_KEPT_BYTES) this.#forget()
    else this.#kept?.push(chunk)
  }

  #forget(): void {
    this.#source.off('data', this.#keep)
    this.#kept = undefined
    // Also where it is empty.
    this.#bytes = Infinity
  }
}
