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
/** The upper half of an interface identifier, RFC 5214 section 6.1: for private and for global addresses. */
const ISATAP: ReadonlySet<bigint> = new Set([0x0000_5efen, 0x0200_5efen])
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
 * The IPv4 addresses that an IPv6 one may lead to by way of IPv4-compatible (`::10.0.0.1`), NAT64
 * (`64:ff9b::10.0.0.1`), translated, 6to4 (`2002:a00:1::`), Teredo or ISATAP notation; more than one where that
 * depends on the network. Node's own BlockList sees through none of them.
 */
export function embeddedIPv4s({ family, bits }: IpAddress): readonly IpAddress[] {
  if (family === 4) return []
  const all: bigint[] = []
  if (bits >> 112n === SIX_TO_FOUR) all.push(bits >> 80n)
  if (bits >> 96n === TEREDO) all.push(~bits)
  const prefix = bits >> 32n
  // `::` and `::1` have the form of a compatible address, but are the unspecified and loopback ones.
  if (prefix === NAT64 || prefix === TRANSLATED || (prefix === 0n && bits > 1n)) all.push(bits)
  if (bits >> 80n === LOCAL_NAT64) all.push(bits, ...afterPrefix(bits))
  if (ISATAP.has(prefix & LOW_32)) all.push(bits)
  return all.map((address) => ({ family: 4, bits: address & LOW_32 }))
}

/**
 * RFC 6052 section 2.2: behind a prefix of 48, 56 or 64 bits, around bits 64 to 71, which are none of it, and before
 * nothing but zeros.
 */
function afterPrefix(bits: bigint): readonly bigint[] {
  const joined = ((bits >> 64n) << 56n) | (bits & ((1n << 56n) - 1n))
  return [48n, 56n, 64n].flatMap((length) => {
    const behind = 120n - length - 32n
    return (joined & ((1n << behind) - 1n)) === 0n ? [joined >> behind] : []
  })
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
