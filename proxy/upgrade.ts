import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { closeWith } from './close-with.js'
import type { ClientConnection, Exchanges } from './exchange.js'
import { endToEnd, headerValue, pairs, tokens } from './headers.js'
import { requestHeaders } from './outgoing-headers.js'
import { relay, upstreamResponse } from './relay.js'
import { splice } from './tunnel.js'

// client → Upgrade → upstream 101 → raw bytes both ways (WebSocket, `Upgrade: tcp`, …)

/**
 * Serves a request that asks to switch protocols. Node has detached its parser by now, so the connection is
 * ours: it carries one answer, or the new protocol, and never another request.
 */
export async function serveUpgrade(
  request: IncomingMessage,
  inner: Socket,
  head: Buffer,
  client: ClientConnection,
  exchanges: Exchanges,
): Promise<void> {
  const response = detachedResponse(request, inner)
  const protocol = headerValue(request.rawHeaders, 'upgrade')
  // RFC 7540, 3.2: an offer that may be left unanswered, and a way past the policy if it were taken up.
  if (protocol === undefined || tokens(protocol).includes('h2c')) {
    return exchanges.serve(request, response, client)
  }
  return exchanges.run(request, response, client, async (admitted) => {
    const gone = new AbortController()
    inner.once('close', () => gone.abort())
    const headers = [...requestHeaders(request, false), 'Connection', 'Upgrade', 'Upgrade', protocol]
    const answer = await exchanges.send(request, admitted, headers, gone.signal)
    if (answer.kind === 'response') {
      await relay(upstreamResponse(answer.message), response, client.socket)
      return { status: answer.message.statusCode ?? 0 }
    }
    response.detachSocket(inner)
    inner.write(switchingHead(answer.message))
    if (answer.head.length > 0) inner.write(answer.head)
    if (head.length > 0) answer.socket.write(head)
    await splice(inner, answer.socket, client.socket)
    return { status: 101 }
  })
}

/** A response on a socket Node no longer parses; it ends the connection, as no request can follow. */
function detachedResponse(request: IncomingMessage, inner: Socket): ServerResponse {
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(inner)
  response.once('finish', () => closeWith(inner, ''))
  inner.once('close', () => response.destroy())
  return response
}

/** Upstream's own 101, with the hop-by-hop headers that make it one. */
function switchingHead(message: IncomingMessage): string {
  const protocol = headerValue(message.rawHeaders, 'upgrade') ?? ''
  const headers = [...endToEnd(message.rawHeaders), 'Connection', 'Upgrade', 'Upgrade', protocol]
  const lines = pairs(headers).map(([name, value]) => `${name}: ${value}`)
  return [`HTTP/1.1 101 ${message.statusMessage ?? 'Switching Protocols'}`, ...lines, '', ''].join('\r\n')
}
