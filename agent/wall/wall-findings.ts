import type { Exposure } from './exposure.js'

/** The step `proxy-config` finds out who can reach what, and puts it here. */
export interface WallFindings {
  /** By which way the workspace's user has root's rights; absent where it has none. */
  readonly exposure?: Exposure
  /** Secrets of the configuration that are kept from the proxy because of that. */
  readonly withheld: readonly string[]
  /** Variables of the secrets that are loaded all the same. */
  readonly trustedVariables: readonly string[]
  /** Of Discobot's services besides the proxy. */
  readonly ownPorts: readonly number[]
  /** The configuration says where traffic may go. */
  readonly hasPolicy: boolean
  /** Of the configuration: what the operator says of the packet filter. */
  readonly enforce: 'auto' | boolean
  /** The configuration keeps traffic from going somewhere, and does not only observe it. */
  readonly narrows: boolean
  /** Some secret is not withheld. */
  readonly loadsSecrets: boolean
  /** Of the configuration: whoever looks up a name is answered, where egress is enforced. */
  readonly answersNames: boolean
}

/** Where the configuration could not be read, or there is no proxy for it. */
export const NOTHING_FOUND: WallFindings = {
  withheld: [],
  trustedVariables: [],
  ownPorts: [],
  hasPolicy: false,
  enforce: 'auto',
  narrows: false,
  loadsSecrets: false,
  answersNames: false,
}
