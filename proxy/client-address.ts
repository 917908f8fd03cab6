import type { Socket } from 'node:net'

/** Where a client connects from, one spelling for each address. */
export function addressOf({ remoteAddress = 'unknown' }: Socket): string {
  return remoteAddress.startsWith('::ffff:') ? remoteAddress.slice('::ffff:'.length) : remoteAddress
}
