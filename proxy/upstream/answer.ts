import type { ClientHttp2Stream } from 'node:http2'
import { STATUS_CODES } from 'node:http'
import type { UpstreamMessage } from '../message/message.js'
import { fromHttp2Fields } from '../h2/fields.js'
import { Http2Incoming } from '../h2/incoming.js'

/** An answer that came by HTTP/2, in the terms of HTTP/1.1. */
export class Http2Answer extends Http2Incoming implements UpstreamMessage {
  readonly httpVersion = '2.0'
  statusCode = 0
  /** There is none in HTTP/2. */
  statusMessage = ''
  headOnly = false

  /** Made with the request: what follows the head may come in the same packet as it. */
  constructor(stream: ClientHttp2Stream) {
    super(stream, [])
  }

  begin(status: number, fields: readonly string[], headOnly: boolean): void {
    this.statusCode = status
    this.statusMessage = STATUS_CODES[status] ?? ''
    this.headOnly = headOnly
    this.rawHeaders.push(...fromHttp2Fields(fields))
  }
}
