import * as v from 'valibot'
import { nearestName } from '../../base/nearest-name.js'
import {
  accessRuleKeys,
  accessRules,
  allowlistKeys,
  blocklistKeys,
  egressKeys,
  policyKeys,
} from './access.js'
import { apartKeys, cacheKeys, cacheRuleKeys, matchKeys } from './cache.js'
import { condition, headers, ruleKeys } from './headers.js'
import { judged, list, mapping, NOT_A_MAPPING, optional } from './keys.js'
import { limitsKeys } from './limits.js'
import { loggingKeys } from './logging.js'
import { proxyAuthKeys, proxyKeys } from './proxy.js'
import { secretKeys, secrets } from './secrets.js'
import { timeoutsKeys } from './timeouts.js'
import { tlsKeys } from './tls.js'
import { upstreamProxyKeys } from './upstream-proxy.js'
import { text } from './values.js'

// The shape of a configuration file: every key may be left out.

const sections = {
  proxy: proxyKeys,
  tls: tlsKeys,
  cache: cacheKeys,
  allowlist: allowlistKeys,
  blocklist: blocklistKeys,
  policy: policyKeys,
  egress: egressKeys,
  upstream_proxy: upstreamProxyKeys,
  timeouts: timeoutsKeys,
  limits: limitsKeys,
  logging: loggingKeys,
}

/** Section → its keys; `headers`, `secrets`, `rules`, `locks` and `end_marker` have no fixed ones. */
const SECTION_KEYS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries(sections).map(([name, keys]) => [name, Object.keys(keys)]),
)

/** Every key with a value of its own, dotted. */
export const LEAF_NAMES: readonly string[] = [
  ...Object.entries(SECTION_KEYS).flatMap(([name, keys]) => keys.map((key) => `${name}.${key}`)),
  'headers',
  'secrets',
  'rules',
  'locks',
  'end_marker',
]

const LOCKABLE = [
  ...LEAF_NAMES.filter((name) => name !== 'locks' && name !== 'end_marker'),
  ...Object.keys(SECTION_KEYS),
]

/** More than there are keys. For each that is none, the nearest is looked for. */
export const MAX_LOCKS = 256

const lock = v.pipe(
  text,
  judged((name) => {
    if (LOCKABLE.includes(name)) return undefined
    const nearest = nearestName(name, LOCKABLE)
    return `is not a key${nearest === undefined ? '; write one such as cache.max_size, or a section' : `; did you mean "${nearest}"?`}`
  }),
)

export const fileSchema = v.strictObject(
  {
    proxy: optional(mapping(v.strictObject(sections.proxy, NOT_A_MAPPING)), 'Where the proxy listens.'),
    tls: optional(mapping(v.strictObject(sections.tls, NOT_A_MAPPING)), 'Certificates.'),
    cache: optional(mapping(v.strictObject(sections.cache, NOT_A_MAPPING)), 'What is kept, and where.'),
    headers: optional(mapping(headers), 'Host pattern → headers added to requests on their way out.'),
    secrets: optional(mapping(secrets), 'Name → where a secret comes from, and where it may go.'),
    allowlist: optional(
      mapping(v.strictObject(sections.allowlist, NOT_A_MAPPING)),
      'The only places allowed.',
    ),
    blocklist: optional(mapping(v.strictObject(sections.blocklist, NOT_A_MAPPING)), 'Places not allowed.'),
    rules: optional(accessRules, 'Who may be asked for what: hosts together with methods, paths and ports.'),
    policy: optional(
      mapping(v.strictObject(sections.policy, NOT_A_MAPPING)),
      'How lists and rules are applied.',
    ),
    egress: optional(mapping(v.strictObject(sections.egress, NOT_A_MAPPING)), 'Where connections may lead.'),
    upstream_proxy: optional(
      mapping(v.strictObject(sections.upstream_proxy, NOT_A_MAPPING)),
      "The operator's own proxy, by which everything goes.",
    ),
    timeouts: optional(mapping(v.strictObject(sections.timeouts, NOT_A_MAPPING)), 'What takes too long.'),
    limits: optional(
      mapping(v.strictObject(sections.limits, NOT_A_MAPPING)),
      'How much is served at a time; what is beyond is answered with 503.',
    ),
    logging: optional(mapping(v.strictObject(sections.logging, NOT_A_MAPPING)), 'What is logged, and how.'),
    locks: optional(list(lock), "Keys or sections that a workspace's file may not change."),
    end_marker: optional(
      v.literal(true, 'is not true; write true, or remove the key'),
      'The file ends with a line "...", and one without it is not used: it was cut off.',
    ),
  },
  'is not a mapping; write proxy:, cache: and so on',
)

export type FileValues = v.InferOutput<typeof fileSchema>

/** The keys that the mapping at `path` may have; `undefined` where they are not fixed. */
export function knownKeys(path: readonly (string | number)[]): readonly string[] | undefined {
  const [section, key] = path
  if (section === 'cache' && key === 'rules')
    return Object.keys(path.length === 3 ? cacheRuleKeys : matchKeys)
  switch (path.length) {
    case 0:
      return Object.keys(fileSchema.entries)
    case 1:
      return SECTION_KEYS[String(section)]
    case 2:
      if (section === 'rules') return Object.keys(accessRuleKeys)
      if (section === 'proxy') return Object.keys(proxyAuthKeys)
      if (section === 'cache') return Object.keys(apartKeys)
      return Object.keys(section === 'secrets' ? secretKeys : ruleKeys)
    case 3:
      return undefined
    default:
      return Object.keys(condition.entries)
  }
}
