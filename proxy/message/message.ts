import type { Readable, Writable } from 'node:stream'
import type { RawHeaders } from './headers.js'

// What the pipeline needs of a message, whichever HTTP it came in. Node's own HTTP/1.1 classes are such messages
// as they stand; those of HTTP/2 are in h2/.

/** A request as a client sent it, in the terms of HTTP/1.1: `IncomingMessage` is one. */
export interface ClientRequest extends Readable {
  readonly method?: string | undefined
  /** Request target as sent. */
  readonly url?: string | undefined
  /** `1.1`, `2.0` */
  readonly httpVersion: string
  readonly httpVersionMajor: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly rawHeaders: string[]
  /** Complete once the body has ended. */
  readonly rawTrailers: string[]
  /** The whole request has been read. */
  readonly complete: boolean
  /** HTTP/2: what stands in the place of Host and of the scheme of an absolute URI. */
  readonly pseudo?: { readonly authority: string | undefined; readonly scheme: string | undefined }
}

/** The answer to a client: `ServerResponse` is one. */
export interface ClientResponse extends Writable {
  readonly req: { readonly method?: string | undefined; readonly httpVersion: string }
  statusCode: number
  sendDate: boolean
  shouldKeepAlive: boolean
  readonly headersSent: boolean
  writeHead(status: number, reason: string | undefined, headers: string[]): unknown
  flushHeaders(): void
  addTrailers(trailers: [string, string][]): void
  /** HTTP/2: of the body, taken by the stream so far. */
  readonly bodyBytes?: number
  /** HTTP/2: a 1xx answer. */
  inform?(status: number, headers: RawHeaders): void
  /** HTTP/2: ends this answer's stream as broken, and no other (RFC 9113, 5.4.2). */
  reset?(http2Code?: number): void
}

/** What upstream answered: `IncomingMessage` is one. A truncated body ends in an error. */
export interface UpstreamMessage extends Readable {
  /** `1.1`, `2.0` */
  readonly httpVersion: string
  readonly statusCode?: number | undefined
  readonly statusMessage?: string | undefined
  readonly rawHeaders: string[]
  readonly rawTrailers: string[]
  /** HTTP/2: the head was all there is, as in the errors of gRPC. */
  readonly headOnly?: boolean
}
