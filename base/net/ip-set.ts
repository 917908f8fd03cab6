import { DiscobotError } from '../errors.js'
import { embeddedIPv4s, formatIpAddress, parseIpAddress, type IpAddress } from './ip-address.js'

/** An entry of `ips` is neither an address nor a CIDR block. */
export class IpBlockError extends DiscobotError {
  readonly code = 'IP_BLOCK_INVALID'
}

export interface IpSet {
  /** Whether no address is in the set. */
  readonly isEmpty: boolean
  /**
   * Whether the set holds `address`, or the IPv4 address it leads to (mapped, compatible, NAT64, 6to4 and
   * their like). Brackets and zones are ignored. What is not an address is in no set.
   */
  has(address: string): boolean
  /** The entry because of which the set holds `address`. */
  find(address: string): string | undefined
}

/** A run of addresses that share their first `prefix` bits; a single address has all of them. */
export interface IpBlock extends IpAddress {
  readonly prefix: number
}

/**
 * Compiles addresses and CIDR blocks. A lookup costs one set access for each prefix length in use.
 *
 * @throws IpBlockError for an entry that is neither.
 */
export function compileIpSet(entries: Iterable<string>): IpSet {
  const networks = {
    4: new Map<number, Map<bigint, string>>(),
    6: new Map<number, Map<bigint, string>>(),
  }
  for (const entry of entries) {
    const block = parseIpBlock(entry)
    if (typeof block === 'string') throw new IpBlockError(`cannot use "${entry}" as an address: it ${block}`)
    const ofPrefix = networks[block.family].get(block.prefix) ?? new Map<bigint, string>()
    networks[block.family].set(block.prefix, ofPrefix.set(networkOf(block, block.prefix), entry))
  }
  const holding = (address: IpAddress): string | undefined => {
    for (const [prefix, ofPrefix] of networks[address.family]) {
      const entry = ofPrefix.get(networkOf(address, prefix))
      if (entry !== undefined) return entry
    }
    return undefined
  }
  const find = (text: string): string | undefined => {
    const address = parseIpAddress(text)
    if (address === undefined) return undefined
    const found = holding(address)
    if (found !== undefined || address.family === 4) return found
    for (const embedded of embeddedIPv4s(address)) {
      const entry = holding(embedded)
      if (entry !== undefined) return entry
    }
    return undefined
  }
  return {
    isEmpty: networks[4].size === 0 && networks[6].size === 0,
    has: (address) => find(address) !== undefined,
    find,
  }
}

/** The block an entry stands for, or what is wrong with it as the end of a sentence about it. */
export function parseIpBlock(entry: string): IpBlock | string {
  const [text = '', length, ...more] = entry.split('/')
  const address = /[%[\]]/.test(text) ? undefined : parseIpAddress(text)
  const isLength = length === undefined || /^(0|[1-9]\d{0,2})$/.test(length)
  if (address === undefined || !isLength || more.length > 0) {
    return 'is not an address or CIDR block; write 10.0.0.1, 10.0.0.0/8 or fd00::/8'
  }
  // Of a mapped address's 128 bits, the first 96 say that it is one.
  const implied = address.family === 4 && text.includes(':') ? 96 : 0
  const prefix = length === undefined ? widthOf(address) : Number(length) - implied
  if (prefix < 0 || prefix > widthOf(address)) {
    return `has a prefix length out of range; write /${implied} to /${widthOf(address) + implied}`
  }
  const hostBits = BigInt(widthOf(address) - prefix)
  const network = { ...address, bits: (address.bits >> hostBits) << hostBits }
  if (network.bits === address.bits) return { ...address, prefix }
  return `has bits set beyond its prefix; write ${formatIpBlock({ ...network, prefix })}`
}

/** The one spelling of a block; without a prefix length when it is a single address. */
export function formatIpBlock(block: IpBlock): string {
  const address = formatIpAddress(block)
  return block.prefix === widthOf(block) ? address : `${address}/${block.prefix}`
}

/**
 * Compiles what finds out whether one of `outers` holds every address of a block. A lookup costs one set access for each
 * prefix length in use. What is not a block covers nothing and is covered by nothing.
 */
export function compileIpCover(outers: Iterable<string>): (inner: string) => boolean {
  const networks = { 4: new Map<number, Set<bigint>>(), 6: new Map<number, Set<bigint>>() }
  for (const outer of outers) {
    const block = parseIpBlock(outer)
    if (typeof block === 'string') continue
    const ofPrefix = networks[block.family].get(block.prefix) ?? new Set<bigint>()
    networks[block.family].set(block.prefix, ofPrefix.add(networkOf(block, block.prefix)))
  }
  return (inner) => {
    const block = parseIpBlock(inner)
    if (typeof block === 'string') return false
    for (const [prefix, ofPrefix] of networks[block.family])
      if (prefix <= block.prefix && ofPrefix.has(networkOf(block, prefix))) return true
    return false
  }
}

function networkOf(address: IpAddress, prefix: number): bigint {
  return address.bits >> BigInt(widthOf(address) - prefix)
}

function widthOf({ family }: IpAddress): 32 | 128 {
  return family === 4 ? 32 : 128
}
