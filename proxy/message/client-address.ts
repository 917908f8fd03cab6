import type { Socket } from 'node:net'
import { isLoopback } from '../../base/net/loopback.js'

/** Where a client connects from, one spelling for each address. */
export function addressOf({ remoteAddress = 'unknown' }: Socket): string {
  return remoteAddress.startsWith('::ffff:') ? remoteAddress.slice('::ffff:'.length) : remoteAddress
}

/**
 * Whether a client comes by this machine's loopback. One that names another address of this machine does not: as far
 * as can be told from here it may come from elsewhere. Nor does one that has left.
 */
export function isFromLoopback({ remoteAddress = '' }: Socket): boolean {
  return isLoopback(remoteAddress)
}
