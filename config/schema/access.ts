import * as v from 'valibot'
import { rulePathComplaint } from '../model/rule-path.js'
import { anyOf, described, judged, list, optional } from './keys.js'
import { hostPattern, ipBlock, targetPort, text, toggle } from './values.js'

// Who may be reached: lists, rules, and where connections may lead.

/** Every request is compared with each of them. */
export const MAX_RULES = 256
const TOO_MANY_RULES = `has more than ${MAX_RULES} rules, with which every request would be compared`

export const accessRuleKeys = {
  name: optional(
    v.pipe(
      text,
      judged((name) =>
        /^[\x20-\x7e]{1,80}$/.test(name) ? undefined : 'is not a name; write 1 to 80 ASCII characters',
      ),
    ),
    'What messages call the rule.',
  ),
  action: described(
    v.picklist(['allow', 'block'], 'is not an action; write allow or block'),
    'block counts before allow; allow counts where the allowlist is enabled.',
  ),
  hosts: optional(anyOf(hostPattern), 'Host patterns; without them, every host.'),
  methods: optional(
    anyOf(
      v.pipe(
        text,
        judged((method) => {
          if (method === 'CONNECT') return 'is no method of a request; use ports to judge tunnels'
          return /^[A-Z][A-Z-]{0,31}$/.test(method) ? undefined : 'is not a method; write it in capitals: GET'
        }),
      ),
    ),
    'Methods; GET stands for HEAD too. Without them, every method.',
  ),
  paths: optional(
    v.pipe(
      anyOf(v.pipe(text, judged(rulePathComplaint))),
      v.maxLength(64, 'has more than 64 paths, which every request would be compared with'),
    ),
    'Paths as /v2/* or ^/v2/[a-z]+$. Without them, every path.',
  ),
  ports: optional(anyOf(targetPort), 'Ports; without them, every port.'),
}

const accessRule = v.pipe(
  v.strictObject(accessRuleKeys, 'is not a rule; write { action: allow, hosts: [HOST] }'),
  v.check(
    ({ hosts, methods, paths, ports }) => (hosts ?? methods ?? paths ?? ports) !== undefined,
    'would match everything; write hosts, methods, paths or ports',
  ),
)

export const accessRules = v.pipe(list(accessRule), v.maxLength(MAX_RULES, TOO_MANY_RULES))

export const allowlistKeys = {
  enabled: optional(toggle, 'Whether only what is listed may be reached.'),
  domains: optional(list(hostPattern), 'Host patterns that may be reached.'),
  ips: optional(list(ipBlock), 'Addresses or CIDR blocks that may be reached.'),
}

export const blocklistKeys = {
  domains: optional(list(hostPattern), 'Host patterns that may not be reached.'),
  ips: optional(list(ipBlock), 'Addresses or CIDR blocks that may not be reached.'),
}

export const policyKeys = {
  mode: optional(
    v.picklist(['enforce', 'observe'], 'is not a mode; write enforce or observe'),
    'Whether lists and rules block, or only record what they would block.',
  ),
}

export const egressKeys = {
  private: optional(
    v.picklist(['allow', 'deny'], 'is not allow or deny'),
    'Whether addresses that the public internet does not route may be dialled.',
  ),
  connect_ports: optional(list(targetPort), 'Ports that CONNECT and SOCKS may name; empty means any.'),
  allow: optional(list(ipBlock), 'Addresses or CIDR blocks that may be dialled; empty means any.'),
  block: optional(list(ipBlock), 'Addresses or CIDR blocks that may not be dialled.'),
  own_ports: optional(
    list(targetPort),
    'Ports of this machine that clients from elsewhere may reach; empty means none.',
  ),
  enforce: optional(
    v.union([v.boolean(), v.literal('auto')], 'is not auto, true or false'),
    'Whether nothing leaves the container but by the proxy.',
  ),
  dns: optional(
    v.picklist(['resolve', 'refuse'], 'is not resolve or refuse'),
    'Where egress is enforced, whether the proxy answers whoever looks up a name.',
  ),
}
