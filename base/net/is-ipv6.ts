import { SocketAddress } from 'node:net'

/**
 * Whether the text is an IPv6 address, with or without a zone: what `isIPv6` of `node:net` says. That is a regular
 * expression which takes 6 ms to compile in the first two calls, and every start reads IPv6 blocks.
 */
export function isIPv6(text: string): boolean {
  // Before inet_pton(3), which ends at a NUL and takes no zone.
  const address = /^([\da-fA-F:.]+)(%[\da-zA-Z\-.:]+)?$/.exec(text)?.[1]
  if (address?.includes(':') !== true) return false
  try {
    new SocketAddress({ address, family: 'ipv6' })
    return true
  } catch {
    return false
  }
}
