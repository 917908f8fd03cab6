import { isIPv4 } from 'node:net'
import { isIPv6 } from './is-ipv6.js'

/** What is this machine's own whatever its interfaces: RFC 1122, 3.2.1.3 and RFC 4291, 2.5.3. */
export const LOOPBACK_BLOCKS: readonly string[] = ['127.0.0.0/8', '::1']

/** RFC 6761, 6.3: the name means both, and a server that listens "on localhost" may have either alone. */
export const LOCALHOST_ADDRESSES: readonly string[] = ['127.0.0.1', '::1']

/** Whether an address is loopback, in any spelling: also mapped into IPv6, which the kernel treats as IPv4. */
export function isLoopback(address: string): boolean {
  // As the kernel spells them, first: clients are looked at for every request.
  if (address === '::1') return true
  if (address.startsWith('127.')) return isIPv4(address)
  if (address.startsWith('::ffff:127.')) return isIPv4(address.slice('::ffff:'.length))
  if (!address.includes(':') || !isIPv6(address)) return false
  const { hostname } = new URL(`http://[${address.replace(/%.*$/, '')}]`)
  return hostname === '[::1]' || /^\[::ffff:7f[\da-f]{2}:/.test(hostname)
}

/** Whether a host is loopback, by name or address; an address of IPv6 with or without brackets. */
export function isLoopbackHost(host: string): boolean {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
  // RFC 6761, 6.3; the dot at the end is DNS's own.
  return /^localhost\.?$/i.test(bare) || isLoopback(bare)
}
