import type { Socket } from 'node:net'
import { basic } from '../credentials/auth.js'
import { peek } from '../socket/peek.js'
import { take } from '../socket/exact-bytes.js'
import { UpstreamProxyError } from './errors.js'
import type { ParentProxy } from './parent-proxy.js'

// us → CONNECT host:port → upstream proxy → 2xx. RFC 9110, 9.3.6, the client's side.

/** As for any other answer. */
const MAX_HEAD_BYTES = 64 * 1024

/**
 * Has `parent` connect `socket` to `authority`. Bytes behind the answer's head stay in the socket.
 *
 * @throws UpstreamProxyError
 */
export async function connectHandshake(
  socket: Socket,
  parent: ParentProxy,
  authority: string,
  via: string,
  limitMs: number,
): Promise<void> {
  const credentials = parent.credentials()
  const lines = [
    `CONNECT ${authority} HTTP/1.1`,
    `Host: ${authority}`,
    `Via: ${via}`,
    ...(credentials === undefined ? [] : [`Proxy-Authorization: ${basic(credentials)}`]),
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  const length = await peek(socket, headLength, limitMs)
  if (length === undefined || length === 'too long') {
    throw new UpstreamProxyError(
      `the upstream proxy ${parent.label} closed the connection before it had answered`,
      502,
      'connection_terminated',
    )
  }
  const head = (await take(socket, length)).toString('latin1')
  const [, status, reason = ''] = /^HTTP\/1\.[01] (\d{3}) ?([^\r\n]*)/.exec(head) ?? []
  if (status === undefined) {
    const words = `the upstream proxy ${parent.label} does not speak HTTP`
    throw new UpstreamProxyError(words, 502, 'http_protocol_error')
  }
  if (!status.startsWith('2')) throw connectRefused(parent, Number(status), reason)
}

/** What an answer of the upstream proxy itself means for whoever asked us. */
export function connectRefused(parent: ParentProxy, status: number, reason: string): UpstreamProxyError {
  const said = `${status} ${reason.replace(/[^\x20-\x7e]/g, '?').slice(0, 100)}`.trim()
  if (status === 407) {
    const words =
      parent.credentials() === undefined ? 'wants credentials; give them' : 'does not accept those'
    return new UpstreamProxyError(
      `the upstream proxy ${parent.label} ${words} in upstream_proxy.url (${said})`,
      502,
      'proxy_configuration_error',
    )
  }
  if (status === 504) {
    const words = `the upstream proxy ${parent.label} got no answer from there in time (${said})`
    return new UpstreamProxyError(words, 504, 'connection_timeout')
  }
  const hint =
    parent.resolvesNames || status >= 500 ? '' : '; it was told an address, see upstream_proxy.resolve'
  const words = `the upstream proxy ${parent.label} does not connect us (${said})${hint}`
  return new UpstreamProxyError(words, 502, status < 500 ? 'http_request_denied' : 'destination_unavailable')
}

function headLength(bytes: Buffer): number | 'too long' | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end !== -1) return end + 4
  return bytes.length > MAX_HEAD_BYTES ? 'too long' : undefined
}
