import * as v from 'valibot'
import { parseHostPattern } from '../../base/net/host-pattern.js'
import { formatIpBlock, parseIpBlock } from '../../base/net/ip-set.js'
import { parseUpstreamProxyUrl } from '../model/upstream-proxy-url.js'
import { judged, list, onlyComplaint, optional } from './keys.js'
import { canonicalPattern, text } from './values.js'

const place = v.pipe(
  v.string('is not a host pattern, address or CIDR block; put it in quotes'),
  judged((entry) => {
    const isPlace = typeof parseHostPattern(entry) === 'object' || typeof parseIpBlock(entry) === 'object'
    return isPlace ? undefined : 'is not a host pattern, address or CIDR block'
  }),
  v.transform((entry) => {
    const block = parseIpBlock(entry)
    return typeof block === 'string' ? canonicalPattern(entry) : formatIpBlock(block)
  }),
)

export const upstreamProxyKeys = {
  url: optional(
    v.pipe(
      text,
      judged((url) => (url === '' ? undefined : onlyComplaint(parseUpstreamProxyUrl(url)))),
    ),
    'The proxy to go by: http://USER:PASSWORD@HOST:PORT, socks5:// or socks5h://; empty for none.',
  ),
  no_proxy: optional(list(place), 'Host patterns, addresses and CIDR blocks that are reached without it.'),
  resolve: optional(
    v.picklist(['local', 'remote'], 'is not local or remote'),
    'Who resolves names: local, so that addresses are checked, or the upstream proxy.',
  ),
}
