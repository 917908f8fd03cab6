import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { ClientRequest } from '../message/message.js'
import { headerValue } from '../message/headers.js'
import { fromHttp2Fields } from './fields.js'
import { Http2Incoming } from './incoming.js'

/** A request that came by HTTP/2, in the terms of HTTP/1.1. */
export class Http2Request extends Http2Incoming implements ClientRequest {
  readonly method: string
  readonly url: string
  readonly httpVersion = '2.0'
  readonly httpVersionMajor = 2
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly pseudo: { readonly authority: string | undefined; readonly scheme: string | undefined }

  /** @param raw the header block as `stream` events carry it. */
  constructor(stream: ServerHttp2Stream, parsed: IncomingHttpHeaders, raw: string[]) {
    const fields = fromHttp2Fields(raw)
    super(stream, fields)
    this.method = parsed[':method'] ?? ''
    this.url = parsed[':path'] ?? ''
    this.pseudo = { authority: parsed[':authority'], scheme: parsed[':scheme'] }
    const length = headerValue(fields, 'content-length')
    // END_STREAM says what Transfer-Encoding says in HTTP/1.1; a connection that has it needs nothing else.
    const chunked = length === undefined && !stream.endAfterHeaders
    this.headers = {
      ...(length === undefined ? {} : { 'content-length': length }),
      ...(chunked ? { 'transfer-encoding': 'chunked' } : {}),
    }
  }
}
