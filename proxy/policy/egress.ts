import type { EgressSection } from '../../config/model/config.js'
import { compileIpSet, type IpSet } from '../../base/net/ip-set.js'
import type { Finding } from './finding.js'

/** Link-local, "this host", multicast and broadcast: never a place a client may be sent to. */
const NEVER_DIALLED = compileIpSet([
  '169.254.0.0/16',
  'fe80::/10',
  '0.0.0.0/8',
  '::',
  '224.0.0.0/4',
  '255.255.255.255',
  'ff00::/8',
])

/** Where clouds hand out credentials to whoever asks, besides link-local 169.254.169.254. */
const METADATA = compileIpSet([
  // AWS
  'fd00:ec2::254',
  // Google
  'fd20:ce::254',
  // Alibaba
  '100.100.100.200',
  // Oracle
  '192.0.0.192',
  // Azure
  '168.63.129.16',
])

/** IANA's special-purpose registries (RFC 6890): what is not globally reachable. */
const PRIVATE = compileIpSet([
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '240.0.0.0/4',
  '::1',
  '64:ff9b:1::/48',
  '100::/64',
  '2001:db8::/32',
  '3fff::/20',
  '5f00::/16',
  'fc00::/7',
  'fec0::/10',
])

/** Where connections may lead, whatever lists and rules say of the host. Pure, as the policy is. */
export class Egress {
  readonly #section: EgressSection
  readonly #allowed: IpSet
  readonly #blocked: IpSet
  readonly #ports: ReadonlySet<number>
  readonly #ownPorts: ReadonlySet<number>

  constructor(section: EgressSection) {
    this.#section = section
    this.#allowed = compileIpSet(section.allow)
    this.#blocked = compileIpSet(section.block)
    this.#ports = new Set(section.connect_ports)
    this.#ownPorts = new Set(section.own_ports)
  }

  /** Whether the configuration refuses any address at all, besides what is always refused. */
  get judgesAddresses(): boolean {
    return this.#section.private === 'deny' || !this.#allowed.isEmpty || !this.#blocked.isEmpty
  }

  /** Why no tunnel may be opened to `port`. */
  tunnelPort(port: number): Finding | undefined {
    if (this.#ports.size === 0 || this.#ports.has(port)) return undefined
    return {
      option: ['egress', 'connect_ports'],
      reason: `port ${port} is not in egress.connect_ports, and other ports may not be tunnelled to`,
    }
  }

  /** Whether clients from elsewhere may reach that port of this machine. */
  opensOwn(port: number): boolean {
    return this.#ownPorts.has(port)
  }

  /** Why `address` may not be dialled. */
  address(address: string): Finding | undefined {
    if (METADATA.has(address)) {
      return { option: [], reason: `${address} is a metadata address, which is never dialled` }
    }
    if (NEVER_DIALLED.has(address)) {
      const what = 'a link-local, metadata, unspecified, multicast or broadcast address'
      return { option: [], reason: `${address} is ${what}, which is never dialled` }
    }
    const blocked = this.#blocked.find(address)
    if (blocked !== undefined) {
      const index = this.#section.block.indexOf(blocked)
      return { option: ['egress', 'block', index], reason: `egress.block has ${address}` }
    }
    if (this.#section.private === 'deny' && PRIVATE.has(address)) {
      return { option: ['egress', 'private'], reason: `${address} is private, and egress.private is deny` }
    }
    if (this.#allowed.isEmpty || this.#allowed.has(address)) return undefined
    return { option: ['egress', 'allow'], reason: `${address} is not in egress.allow` }
  }
}
