import { STATUS_CODES, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { UpstreamResponse } from '../cache/contract/contract.js'
import { StreamResetError } from '../h2/stream-error.js'
import { endToEnd, headerValue, pairs, via, without, type RawHeaders } from '../message/headers.js'
import type { ClientResponse, UpstreamMessage } from '../message/message.js'
import { sendHead } from '../message/send-head.js'

// upstream → us → client

/** Upstream may send 1xx answers without end. What a client that reads nothing has waiting, none is added to. */
const MAX_WAITING_BYTES = 64 * 1024

/**
 * Cuts the connection, or in HTTP/2 the stream, so that the client cannot take what it has for the whole. A reset
 * by upstream is passed on with its code.
 */
export function resetClient(socket: Socket, response: ClientResponse, cause?: unknown): void {
  if (response.reset !== undefined) {
    response.reset(cause instanceof StreamResetError ? cause.http2Code : undefined)
    return
  }
  socket.resetAndDestroy()
  response.destroy()
}

/** Sends an upstream answer on as it comes. @throws what broke the body off. */
export function relay(upstream: UpstreamResponse, response: ClientResponse, socket: Socket): Promise<void> {
  const { body, rawHeaders } = upstream
  // It has left while upstream was waited for, and tells of that only once.
  if (response.destroyed) {
    body.destroy()
    return Promise.reject(new Error('the client connection closed'))
  }
  const headers = [...withoutFraming(rawHeaders), 'Via', via(upstream.httpVersion)]
  response.writeHead(upstream.status, upstream.reason, headers)
  // What ends with its head must do so in HTTP/2 too: gRPC tells an error by it.
  if (upstream.headOnly !== true) sendHead(response)
  return new Promise((resolve, reject) => {
    body.once('error', reject)
    body.once('end', () => {
      if ('rawTrailers' in body && Array.isArray(body.rawTrailers) && body.rawTrailers.length > 0) {
        response.addTrailers(pairs(body.rawTrailers as string[]))
      }
      response.end()
    })
    response.once('close', () => {
      body.destroy()
      if (response.writableFinished || socket.destroyed) resolve()
      else reject(new Error('the client connection closed'))
    })
    body.pipe(response, { end: false })
  })
}

export function upstreamResponse(message: UpstreamMessage): UpstreamResponse {
  return {
    status: message.statusCode ?? 0,
    reason: message.statusMessage ?? '',
    rawHeaders: endToEnd(message.rawHeaders),
    body: message,
    httpVersion: message.httpVersion,
    untilClose: endsWithConnection(message),
    ...(message.headOnly === undefined ? {} : { headOnly: message.headOnly }),
  }
}

/** RFC 9112, 6.3, 8: neither a length nor chunks. In HTTP/2 a stream has an end of its own. */
function endsWithConnection({ httpVersion, rawHeaders }: UpstreamMessage): boolean {
  if (!httpVersion.startsWith('1.')) return false
  return (
    headerValue(rawHeaders, 'content-length') === undefined &&
    headerValue(rawHeaders, 'transfer-encoding') === undefined
  )
}

/** A body that came in chunks goes on in chunks of our own making, which Node adds by itself. */
function withoutFraming(headers: RawHeaders): RawHeaders {
  return without(headers, (name) => name === 'transfer-encoding')
}

/** Sends 1xx answers on to a client that is still waiting for the final one. */
export function informer(response: ClientResponse): (status: number, headers: RawHeaders) => void {
  return (status, headers) => {
    if (response.headersSent || response.destroyed) return
    if (response.inform !== undefined) response.inform(status, headers)
    else if (isServerResponse(response)) informByHttp1(response, status, headers)
  }
}

/** `instanceof` alone would leave the type of its request open. */
function isServerResponse(response: ClientResponse): response is ServerResponse {
  return response instanceof ServerResponse
}

/** Node has `writeEarlyHints`, which refuses links it does not know, and nothing for the other 1xx. */
function informByHttp1(response: ServerResponse, status: number, headers: RawHeaders): void {
  const { socket, req } = response
  // Null while earlier answers of a pipeline are on their way: a hint that comes late is no hint.
  if (socket === null || status === 101 || socket.writableLength > MAX_WAITING_BYTES) return
  // RFC 9110, 15.2.
  if (req.httpVersionMajor === 1 && req.httpVersionMinor === 0) return
  const lines = pairs(endToEnd(headers)).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n`, 'latin1')
}
