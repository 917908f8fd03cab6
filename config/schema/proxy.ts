import { isIP } from 'node:net'
import * as v from 'valibot'
import { LOOPBACK } from '../model/paths.js'
import { parseTemplate } from '../model/secret-template.js'
import { judged, mapping, optional } from './keys.js'
import { port, text } from './values.js'

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

/** RFC 1929, 2: a byte says how long each of them is. */
const MAX_CREDENTIAL_LENGTH = 255

function credential(also: (value: string) => string | undefined) {
  return v.pipe(
    text,
    judged((value) => {
      const parts = parseTemplate(value)
      if (typeof parts === 'string') return parts
      if (/[\x00-\x1f\x7f]/.test(value)) return 'holds a control character'
      if (Buffer.byteLength(value) > MAX_CREDENTIAL_LENGTH) {
        return `is longer than ${MAX_CREDENTIAL_LENGTH} bytes`
      }
      return also(value)
    }),
  )
}

export const proxyAuthKeys = {
  user: optional(
    // RFC 7617, 2
    credential((value) => (value.includes(':') ? 'holds a ":", which ends a name' : undefined)),
    'Name that clients must show; ${NAME} stands for a secret.',
  ),
  password: optional(
    credential(() => undefined),
    'Password that clients must show; ${NAME} stands for a secret.',
  ),
  loopback: optional(
    v.picklist(['required', 'exempt'], 'is not required or exempt'),
    'Whether clients on loopback addresses must show them too.',
  ),
}

const proxyAuth = v.pipe(
  mapping(v.strictObject(proxyAuthKeys, 'is not a mapping; write { user: NAME, password: PASSWORD }')),
  v.check(
    ({ user = '', password = '' }) => (user === '') === (password === ''),
    'has only one of user and password; write both, or {} to ask nobody',
  ),
  v.description('Name and password that clients must show; {} asks for none.'),
  v.transform(({ user = '', password = '', loopback = 'required' as const }) => ({
    user,
    password,
    loopback,
  })),
)

export const proxyKeys = {
  port: optional(port, 'TCP port of the proxy: HTTP, HTTPS and SOCKS5. 0 lets the kernel choose.'),
  api_port: optional(port, 'TCP port of the API. 0 lets the kernel choose.'),
  host: v.exactOptional(listenAddresses),
  auth: v.exactOptional(proxyAuth),
}
