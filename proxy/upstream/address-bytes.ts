import { parseIpAddress } from '../../base/net/ip-address.js'

/** The 4 or 16 bytes of an address, as they go over the wire. */
export function addressBytes(text: string): readonly number[] {
  const address = parseIpAddress(text)
  if (address === undefined) throw new TypeError(`${text} is no address`)
  const length = address.family === 4 ? 4 : 16
  return Array.from({ length }, (_, at) => Number((address.bits >> BigInt((length - 1 - at) * 8)) & 0xffn))
}
