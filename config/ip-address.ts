import { isIPv4 } from 'node:net'
import { isIPv6 } from './is-ipv6.js'

/** An address as a number: 32 bits for IPv4, 128 for IPv6. */
export interface IpAddress {
  readonly family: 4 | 6
  readonly bits: bigint
}

const LOW_32 = 0xffff_ffffn
/** `::ffff:0:0/96`, RFC 4291 section 2.5.5.2. */
const MAPPED = 0xffffn
/** `64:ff9b::/96`, RFC 6052 section 2.1. */
const NAT64 = 0x0064_ff9bn << 64n
/** `64:ff9b:1::/48`, RFC 8215; a network's own NAT64, most often with the address in the last 32 bits. */
const LOCAL_NAT64 = 0x0064_ff9b_0001n
/** `::ffff:0:0:0/96`, RFC 2765 section 2.1. */
const TRANSLATED = 0xffff_0000n
/** `2002::/16`, RFC 3056 section 2. */
const SIX_TO_FOUR = 0x2002n
/** `2001::/32`, RFC 4380 section 4: the client's address with all its bits turned. */
const TEREDO = 0x2001_0000n

/**
 * Reads an address with or without the brackets of a URL; a zone (`%eth0`) is dropped. IPv4 must be four
 * decimal numbers. An IPv4-mapped IPv6 address is the IPv4 address: the kernel connects to that.
 */
export function parseIpAddress(text: string): IpAddress | undefined {
  if (isIPv4(text)) return { family: 4, bits: bitsOfIPv4(text) }
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
  if (!isIPv6(bare)) return undefined
  const bits = bitsOfIPv6(bare.replace(/%.*$/, ''))
  return bits >> 32n === MAPPED ? { family: 4, bits: bits & LOW_32 } : { family: 6, bits }
}

/**
 * The IPv4 address that an IPv6 one leads to by way of IPv4-compatible (`::10.0.0.1`), NAT64
 * (`64:ff9b::10.0.0.1`), translated, 6to4 (`2002:a00:1::`) or Teredo notation. Node's own BlockList sees
 * through none of them.
 */
export function embeddedIPv4({ family, bits }: IpAddress): IpAddress | undefined {
  if (family === 4) return undefined
  if (bits >> 112n === SIX_TO_FOUR) return { family: 4, bits: (bits >> 80n) & LOW_32 }
  if (bits >> 96n === TEREDO) return { family: 4, bits: ~bits & LOW_32 }
  const prefix = bits >> 32n
  // `::` and `::1` have the form of a compatible address, but are the unspecified and loopback ones.
  const isEmbedded =
    prefix === NAT64 || prefix === TRANSLATED || bits >> 80n === LOCAL_NAT64 || (prefix === 0n && bits > 1n)
  return isEmbedded ? { family: 4, bits: bits & LOW_32 } : undefined
}

/** The one spelling of an address: RFC 5952 for IPv6, without brackets. */
export function formatIpAddress({ family, bits }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 0xffn).join('.')
  const groups = Array.from({ length: 8 }, (_, index) => (bits >> BigInt(112 - 16 * index)) & 0xffffn)
  const host = groups.map((group) => group.toString(16)).join(':')
  // The URL parser shortens as RFC 5952 asks.
  return new URL(`http://[${host}]`).hostname.slice(1, -1)
}

function bitsOfIPv4(text: string): bigint {
  return text.split('.').reduce((bits, part) => (bits << 8n) | BigInt(part), 0n)
}

/** `text` has been found valid: at most one `::`, a dotted part only at the end. */
function bitsOfIPv6(text: string): bigint {
  const [head = '', tail] = text.split('::')
  const left = groupsOf(head)
  const right = groupsOf(tail ?? '')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0n)
  return [...left, ...zeros, ...right].reduce((bits, group) => (bits << 16n) | group, 0n)
}

function groupsOf(text: string): bigint[] {
  if (text === '') return []
  return text.split(':').flatMap((part) => {
    if (!part.includes('.')) return [BigInt(`0x${part}`)]
    const bits = bitsOfIPv4(part)
    return [bits >> 16n, bits & 0xffffn]
  })
}
