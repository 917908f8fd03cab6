import { isIPv4 } from 'node:net'
import { domainToASCII, domainToUnicode } from 'node:url'
import { formatIpAddress, parseIpAddress } from './ip-address.js'
import { isIPv6 } from './is-ipv6.js'

/** RFC 1035 section 3.1, without the root's empty label. */
const MAX_NAME_LENGTH = 253
const LABEL = /^[a-z0-9_-]{1,63}$/
/** RFC 5890, 2.3.2.1: what stands for a label beyond ASCII. */
const A_LABEL_PREFIX = 'xn--'

/** Its own canonical spelling: most hosts, and no address, whose last label would begin with a digit. */
const PLAIN_NAME = /^(?:[a-z0-9_][a-z0-9_-]{0,62}\.)*[a-z][a-z0-9-]{0,62}$/

/** What separates a host from the rest of a URL, or would be decoded: none of it is part of a name. */
const NOT_IN_NAMES = /[\x00-\x20"#%/:<>?@[\\\]^`{|}\x7f]/

/**
 * The one spelling of a host, so that two spellings of one place are never judged differently: lower case,
 * punycode, no trailing dot; addresses in all their notations (`0x7f.1`, `2130706433`, `①27.0.0.1`,
 * `[::ffff:7f00:1]`) as {@link formatIpAddress} writes them, without brackets.
 *
 * @returns `undefined` for what is not a host: empty, with a port, a zone, control characters, too long, or
 *   ending in a number without being an IPv4 address.
 */
export function canonicalHost(text: string): string | undefined {
  if (text.length <= MAX_NAME_LENGTH && PLAIN_NAME.test(text) && !text.includes(A_LABEL_PREFIX)) return text
  const address = text.includes('%') ? undefined : parseIpAddress(text)
  if (address !== undefined) return formatIpAddress(address)
  if (NOT_IN_NAMES.test(text)) return undefined
  const name = domainToASCII(text).replace(/\.$/, '')
  if (isIPv4(name)) return name
  if (name.length > MAX_NAME_LENGTH) return undefined
  return name.split('.').every(isLabel) ? name : undefined
}

/**
 * A label that claims to stand for another must do so, and be the one way to write it. Older versions of Node refuse
 * such a name themselves; those from 24 on let through whatever is ASCII, as browsers do.
 */
function isLabel(label: string): boolean {
  if (!LABEL.test(label)) return false
  if (!label.startsWith(A_LABEL_PREFIX)) return true
  const shown = domainToUnicode(label)
  return /[^\x00-\x7f]/.test(shown) && domainToASCII(shown) === label
}

/** Whether a canonical host is an address, not a name. */
export function isAddress(host: string): boolean {
  return isIPv4(host) || isIPv6(host)
}
