import { isIP } from 'node:net'
import * as v from 'valibot'
import { LOOPBACK } from '../paths.js'
import { judged, optional } from './keys.js'
import { port } from './values.js'

const listenAddress = v.pipe(
  v.string('is not an IP address'),
  judged((host) => {
    if (host === 'localhost' || isIP(host) !== 0) return undefined
    return 'is not an IP address; write 127.0.0.1, ::1 or another address of this machine'
  }),
)

const listenAddresses = v.pipe(
  v.union(
    [listenAddress, v.pipe(v.array(listenAddress), v.minLength(1, 'is empty; name at least one address'))],
    'is not an IP address or a list of them',
  ),
  v.description('IP address to listen on, or a list of them.'),
  v.transform((host): readonly string[] => {
    const hosts = (typeof host === 'string' ? [host] : host).map((name) =>
      name === 'localhost' ? LOOPBACK : name,
    )
    return [...new Set(hosts)]
  }),
)

export const proxyKeys = {
  port: optional(port, 'TCP port of the proxy: HTTP, HTTPS and SOCKS5. 0 lets the kernel choose.'),
  api_port: optional(port, 'TCP port of the API. 0 lets the kernel choose.'),
  host: v.exactOptional(listenAddresses),
}
