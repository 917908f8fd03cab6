import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { LOOPBACK_BLOCKS } from '../../base/net/loopback.js'
import { compileIpSet, parseIpBlock, type IpSet } from '../../base/net/ip-set.js'

/** Where a connection ends up on this machine whatever its interfaces. */
const ALWAYS = [...LOOPBACK_BLOCKS, '0.0.0.0/8', '::']
const ALWAYS_SET = compileIpSet(ALWAYS)

/** To ask the kernel takes about half a millisecond; requests that come together share an answer. */
const VALID_MS = 20

/** The addresses of this machine, which come and go while we run: Docker makes its bridge after our start. */
export class OwnAddresses {
  readonly #read: () => readonly string[]
  readonly #now: () => number
  #known: IpSet = ALWAYS_SET
  #readAt = -Infinity

  /**
   * @param read addresses and blocks.
   * @param now milliseconds, monotonic.
   */
  constructor(read: () => readonly string[] = localAddresses, now: () => number = () => performance.now()) {
    this.#read = read
    this.#now = now
  }

  /** Whether a connection to `address` ends on this machine. */
  has(address: string): boolean {
    // What has been ours is still refused: that it has gone is no reason to hurry.
    if (ALWAYS_SET.has(address) || this.#known.has(address)) return true
    const now = this.#now()
    if (now - this.#readAt < VALID_MS) return false
    this.#readAt = now
    this.#known = compileIpSet([...ALWAYS, ...this.#read()].filter(isBlock))
    return this.#known.has(address)
  }
}

/**
 * What the kernel delivers here, by its own tables: also addresses of interfaces that are down or have no carrier, as
 * a bridge without containers, which the list of interfaces leaves out, and blocks that are routed to us as a whole.
 */
export function localAddresses(): readonly string[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  return [
    ...interfaces.map(({ address }) => address.replace(/%.*$/, '')),
    ...localIPv4(textOf('/proc/net/fib_trie')),
    ...localIPv6(textOf('/proc/net/ipv6_route')),
  ]
}

/** `|-- ADDRESS`, and below it a line for each prefix length with the kind of its route. */
export function localIPv4(trie: string): readonly string[] {
  const found: string[] = []
  let address = ''
  for (const line of trie.split('\n')) {
    const [, leaf] = /^ *\|-- ([\d.]+)$/.exec(line) ?? []
    if (leaf !== undefined) address = leaf
    const [, prefix] = /^ *\/(\d+) host LOCAL$/.exec(line) ?? []
    if (prefix !== undefined) found.push(`${address}/${prefix}`)
  }
  return found
}

/** linux/ipv6_route.h */
const RTF_LOCAL = 0x8000_0000

/** Destination and its length in hexadecimal, six more fields, flags, and the interface. */
export function localIPv6(routes: string): readonly string[] {
  return routes.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [destination = '', length = ''] = fields
    if (destination.length !== 32 || (parseInt(fields[8] ?? '', 16) & RTF_LOCAL) === 0) return []
    return [`${destination.replace(/(.{4})(?!$)/g, '$1:')}/${parseInt(length, 16)}`]
  })
}

function isBlock(entry: string): boolean {
  return typeof parseIpBlock(entry) === 'object'
}

/** Empty where there is no procfs: the list of interfaces has to do. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
