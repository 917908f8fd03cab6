import { isIP, type Socket } from 'node:net'
import { take } from '../socket/exact-bytes.js'
import { addressBytes } from './address-bytes.js'
import { UpstreamProxyError } from './errors.js'
import type { ParentProxy } from './parent-proxy.js'

// us → greeting, credentials, request → upstream proxy → reply. RFC 1928 and 1929, the client's side.

const VERSION = 0x05
const METHOD = { none: 0x00, userAndPassword: 0x02 } as const

/** RFC 1928, 6. */
const REPLIES: Readonly<Record<number, readonly [words: string, status: 502 | 504, type: string]>> = {
  2: ['does not allow it', 502, 'http_request_denied'],
  3: ['has no route to that network', 502, 'destination_ip_unroutable'],
  4: ['cannot reach that host', 502, 'destination_ip_unroutable'],
  5: ['was refused the connection there', 502, 'connection_refused'],
  6: ['got no answer from there in time', 504, 'connection_timeout'],
  7: ['does not serve CONNECT', 502, 'proxy_configuration_error'],
  8: ['does not take such addresses', 502, 'proxy_configuration_error'],
}

/** Has `parent` connect `socket` to `host`, a name or an address. @throws UpstreamProxyError */
export async function socks5Handshake(
  socket: Socket,
  parent: ParentProxy,
  host: string,
  port: number,
): Promise<void> {
  const credentials = parent.credentials()
  const fail = (words: string, status: 502 | 504 = 502, type = 'proxy_configuration_error'): never => {
    throw new UpstreamProxyError(`the upstream proxy ${parent.label} ${words}`, status, type)
  }
  socket.write(
    credentials === undefined
      ? Buffer.from([VERSION, 1, METHOD.none])
      : Buffer.from([VERSION, 2, METHOD.none, METHOD.userAndPassword]),
  )
  const [version, method] = await take(socket, 2)
  if (version !== VERSION) fail('does not speak SOCKS5', 502, 'http_protocol_error')
  if (method === METHOD.userAndPassword && credentials !== undefined) {
    const [user, password] = [credentials.user, credentials.password].map((text) =>
      Buffer.from(text, 'latin1'),
    )
    if (user === undefined || password === undefined || user.length > 255 || password.length > 255) {
      return fail('cannot be told a name or password of more than 255 bytes')
    }
    socket.write(Buffer.from([0x01, user.length, ...user, password.length, ...password]))
    const [, verdict] = await take(socket, 2)
    if (verdict !== 0) fail('does not accept the credentials of upstream_proxy.url')
  } else if (method !== METHOD.none) {
    fail('wants credentials; give them in upstream_proxy.url')
  }
  socket.write(Buffer.from([VERSION, 0x01, 0x00, ...addressed(host), port >> 8, port & 0xff]))
  const [, reply = 1, , addressType] = await take(socket, 4)
  const length = addressType === 0x01 ? 4 : addressType === 0x04 ? 16 : ((await take(socket, 1))[0] ?? 0)
  await take(socket, length + 2)
  if (reply !== 0)
    fail(...(REPLIES[reply] ?? ([`failed (reply ${reply})`, 502, 'proxy_internal_error'] as const)))
}

function addressed(host: string): readonly number[] {
  switch (isIP(host)) {
    case 4:
      return [0x01, ...addressBytes(host)]
    case 6:
      return [0x04, ...addressBytes(host)]
    default: {
      const name = Buffer.from(host, 'latin1')
      return [0x03, name.length, ...name]
    }
  }
}
