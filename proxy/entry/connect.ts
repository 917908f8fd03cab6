import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Logger } from '../../base/log/logger.js'
import { reasonOf } from '../../base/errors.js'
import type { ProxyAuth } from '../credentials/auth.js'
import { closeWith } from '../message/close-with.js'
import { assertFraming } from '../message/framing.js'
import type { Interceptor } from './intercept.js'
import { assertNoLoop } from '../upstream/loop.js'
import { refusalOf, renderRefusal } from '../exchange/refusal.js'
import { assertOneHost } from '../message/request-target.js'
import { AuthorityMismatchError, parseTarget, type Target } from '../../base/net/target.js'

// client → CONNECT host:port → 200 → tunnel

/** What `http://` means without a port. */
const HTTP_PORT = 80

/** Serves one CONNECT request. Never rejects. */
export async function serveConnect(
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  interceptor: Interceptor,
  auth: ProxyAuth,
  pseudonym: string,
  logger: Logger,
): Promise<void> {
  let accepted = false
  try {
    auth.check(request.rawHeaders, socket)
    assertNoLoop(request.rawHeaders, pseudonym)
    const target = connectTarget(request)
    // Bytes the client sent without waiting for the answer belong to the tunnel.
    if (head.length > 0) socket.unshift(head)
    await interceptor.serve(socket, target, 'CONNECT', () => {
      accepted = true
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
    })
  } catch (error) {
    logger.warn({ method: 'CONNECT', host: request.url?.slice(0, 300), problem: reasonOf(error) }, 'refused')
    if (accepted) socket.destroy()
    else closeWith(socket, renderRefusal(refusalOf(error, request.url ?? 'the target')))
  }
}

function connectTarget(request: IncomingMessage): Target {
  assertFraming(request)
  assertOneHost(request)
  const target = parseTarget(request.url ?? '', undefined)
  const { host } = request.headers
  // RFC 9110, 7.2 wants the port there too, but many clients leave it out; Node's http module names us.
  if (host !== undefined && !namesUs(host, request) && !agrees(host, target)) {
    throw new AuthorityMismatchError(
      `cannot open a tunnel: the Host header ${JSON.stringify(host.slice(0, 100))} does not name ${target.authority}`,
    )
  }
  return target
}

function agrees(host: string, target: Target): boolean {
  return parseTarget(host, target.port).authority === target.authority
}

/**
 * Our port is what can be known of us: clients reach us by any name of the machine, and by those of networks in
 * between. Nothing is decided by this field (RFC 9112, 3.2.3).
 */
function namesUs(host: string, { socket }: IncomingMessage): boolean {
  return parseTarget(host, HTTP_PORT).port === socket.localPort
}
