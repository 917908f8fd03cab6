import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { UpstreamResponse } from './cache/contract.js'
import { VIA, endToEnd, pairs, without, type RawHeaders } from './headers.js'

// upstream → us → client

/** Cuts the connection so that the client cannot take what it has for the whole. */
export function resetClient(socket: Socket, response: ServerResponse): void {
  socket.resetAndDestroy()
  response.destroy()
}

/** Sends an upstream answer on as it comes. @throws what broke the body off. */
export function relay(upstream: UpstreamResponse, response: ServerResponse, socket: Socket): Promise<void> {
  const { body, rawHeaders } = upstream
  response.writeHead(upstream.status, upstream.reason, [...withoutFraming(rawHeaders), 'Via', VIA])
  response.flushHeaders()
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

export function upstreamResponse(message: IncomingMessage): UpstreamResponse {
  return {
    status: message.statusCode ?? 0,
    reason: message.statusMessage ?? '',
    rawHeaders: endToEnd(message.rawHeaders),
    body: message,
  }
}

/** A body that came in chunks goes on in chunks of our own making, which Node adds by itself. */
function withoutFraming(headers: RawHeaders): RawHeaders {
  return without(headers, (name) => name === 'transfer-encoding')
}

/** Sends 1xx answers on to a client that is still waiting for the final one. */
export function informer(response: ServerResponse): (status: number, headers: RawHeaders) => void {
  return (status, headers) => {
    if (response.headersSent || response.destroyed) return
    if (status === 100) response.writeContinue()
    else if (status === 103) response.writeEarlyHints(earlyHints(headers))
  }
}

function earlyHints(headers: RawHeaders): Record<string, string | string[]> {
  const hints: Record<string, string | string[]> = { link: [] }
  for (const [name, value] of pairs(headers)) {
    if (name.toLowerCase() === 'link') hints['link'] = [...(hints['link'] ?? []), value]
    else hints[name] = value
  }
  return hints
}
