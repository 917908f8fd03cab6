import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Readable, type Duplex } from 'node:stream'
import { whenClosed } from '../../base/http/waiting-answers.js'
import { closeWith } from '../message/close-with.js'
import type { ClientConnection, Exchanges } from './exchange.js'
import { FramingError } from '../message/framing.js'
import { endToEnd, headerValue, pairs, tokens, without } from '../message/headers.js'
import { bodyFollows, requestHeaders } from '../message/outgoing-headers.js'
import { relay, upstreamResponse } from './relay.js'
import { takeBytes } from '../socket/take-bytes.js'
import { splice } from '../socket/tunnel.js'
import { countFlow } from '../socket/tunnel-log.js'

// client → Upgrade → upstream 101 → raw bytes both ways (WebSocket, `Upgrade: tcp`, …)

/** docker exec sends its options (some 30 bytes) in the request that asks to switch; they are kept in memory. */
const MAX_BODY_BYTES = 64 * 1024

/** Whether an offer to switch protocols is passed on. RFC 9110, 7.8: it may be left unanswered. */
function standsOffer(request: IncomingMessage): boolean {
  const protocols = tokens(headerValue(request.rawHeaders, 'upgrade'))
  // RFC 7540, 3.2: taken up, h2c would be a way past the policy. And a body that is not short is for the parser.
  return !protocols.includes('h2c') && bodyLength(request) <= MAX_BODY_BYTES
}

/**
 * Whether Node is to stop parsing, which from 22 on it asks as the option `shouldUpgradeCallback`. Node 26 would read the
 * body of the request all the same, so that it could not be parsed anew.
 */
export function leavesParser(request: IncomingMessage): boolean {
  return bodyLength(request) === 0 || standsOffer(request)
}

/** The request again without its offer, and what followed it, to be parsed anew; undefined where the offer stands. */
export function withoutOffer(request: IncomingMessage, head: Buffer): Buffer | undefined {
  if (standsOffer(request)) return undefined
  const fields = pairs(without(request.rawHeaders, (name) => name === 'upgrade'))
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`)
  const text = `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n${lines.join('')}\r\n`
  return Buffer.concat([Buffer.from(text, 'latin1'), head])
}

/** In bytes; infinite where only the chunks will tell. */
function bodyLength(request: IncomingMessage): number {
  if (!bodyFollows(request)) return 0
  return request.headers['transfer-encoding'] === undefined
    ? Number(request.headers['content-length'])
    : Infinity
}

/**
 * Serves a request that asks to switch protocols. Node has detached its parser by now, so the connection is
 * ours: it carries one answer, or the new protocol, and never another request.
 */
export async function serveUpgrade(
  request: IncomingMessage,
  inner: Duplex,
  head: Buffer,
  client: ClientConnection,
  exchanges: Exchanges,
): Promise<void> {
  const response = detachedResponse(request, inner)
  const protocol = headerValue(request.rawHeaders, 'upgrade') ?? ''
  const length = bodyLength(request)
  if (head.length > 0) inner.unshift(head)
  return exchanges.run(request, response, client, async (admitted) => {
    const gone = new AbortController()
    whenClosed(inner, () => gone.abort())
    // RFC 9110, 7.8: the new protocol begins after the whole request.
    const body = await takeBytes(bodySource(request, inner), length, exchanges.idleMs)
    if (body === undefined) throw new FramingError(400, 'cannot read the request: its body ended early')
    const headers = [
      ...requestHeaders(request, length > 0, exchanges.pseudonym),
      'Connection',
      'Upgrade',
      'Upgrade',
      protocol,
    ]
    const answer = await exchanges.send(request, admitted, headers, gone.signal, {
      ...(length === 0 ? {} : { body: Readable.from([body]) }),
    })
    if (answer.kind === 'response') {
      await relay(upstreamResponse(answer.message), response, client.socket)
      return { status: answer.message.statusCode ?? 0 }
    }
    admitted.witness.switched()
    response.detachSocket(inner as Socket)
    inner.write(switchingHead(answer.message), 'latin1')
    if (answer.head.length > 0) inner.write(answer.head)
    const flow = countFlow(answer.socket)
    const problem = await splice(inner, answer.socket, exchanges.idleMs, client.socket)
    const { sent, received } = flow()
    return {
      status: 101,
      flowed: { sent, received: received + answer.head.length },
      ...(problem === undefined ? {} : { problem: `ended: ${problem}` }),
    }
  })
}

/** Node from 26 on reads the body by itself; before that it leaves it at the front of the connection. */
export function bodySource(request: IncomingMessage, inner: Duplex): Readable {
  return !request.complete || request.readableLength > 0 ? request : inner
}

/** A response on a connection Node no longer parses; it ends the connection, as no request can follow. */
function detachedResponse(request: IncomingMessage, inner: Duplex): ServerResponse {
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  // All it does there is to write, and to listen for the end.
  response.assignSocket(inner as Socket)
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
