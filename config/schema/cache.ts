import * as v from 'valibot'
import { headerNameComplaint } from '../model/header-field.js'
import { pathPatternComplaint } from '../model/path-pattern.js'
import { described, judged, list, mapping, optional } from './keys.js'
import {
  byteSize,
  hostPattern,
  path,
  percent,
  sizeOrNone,
  text,
  timeSpan,
  timeToLive,
  toggle,
} from './values.js'

const TTL = 'Time after which upstream is asked again; 0 means never, upstream as long as it says itself.'

const pathPattern = v.pipe(text, judged(pathPatternComplaint))

export const matchKeys = {
  host: optional(
    v.pipe(
      v.union(
        [
          hostPattern,
          v.pipe(v.array(hostPattern), v.minLength(1, 'is empty; remove the key to match every host')),
        ],
        'is not a host pattern or a list of them',
      ),
      v.transform((host): readonly string[] => (typeof host === 'string' ? [host] : host)),
    ),
    'Host pattern, or a list of them; every host where it is absent.',
  ),
  path: described(pathPattern, 'Regular expression over the path of a URL.'),
}

const ruleName = v.pipe(
  text,
  v.regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'is not a name; write small letters, digits and hyphens'),
)

export const cacheRuleKeys = {
  name: described(
    v.pipe(ruleName, v.notValue('patterns', 'is the name of cache.patterns; choose another')),
    'Name of the rule; one that is shipped is changed by it.',
  ),
  match: optional(v.strictObject(matchKeys, 'is not a mapping; write { path: REGEX }'), 'What it is for.'),
  ttl: optional(timeToLive, TTL),
  ignore_query: optional(toggle, 'Whether requests that differ only in their query share an entry.'),
  verify: optional(
    v.picklist(['sha256', 'sha512'], 'is not a digest; write sha256 or sha512'),
    'Digest in the path that the body must have.',
  ),
  max_object: optional(byteSize, 'The largest body that is kept.'),
  expect: optional(
    v.picklist(['package', 'file', 'anything'], 'is not what a body can be; write package, file or anything'),
    'What bodies must be to be kept: no document, no web page, or anything.',
  ),
  no_cache: optional(
    v.picklist(['ask', 'serve'], 'is not a way; write ask or serve'),
    'Whether upstream is asked when a request says Cache-Control: no-cache.',
  ),
  pass_headers: optional(
    v.pipe(list(v.pipe(text, judged(headerNameComplaint))), v.maxLength(32, 'has more than 32 headers')),
    'Request headers that are sent along, though entries are not told apart by them.',
  ),
  enabled: optional(toggle, 'Whether the rule counts.'),
}

export const apartKeys = {
  by: optional(ruleName, 'What tells these entries from others; part of their keys.'),
  rules: optional(list(ruleName), 'Names of rules, patterns for cache.patterns.'),
  hosts: optional(list(hostPattern), 'Host patterns.'),
}

/** Who keeps something apart and gives no name. */
const NAMELESS = 'operator'

export const cacheKeys = {
  enabled: optional(toggle, 'Whether answers are kept.'),
  dir: optional(path, 'Folder of the cache.'),
  max_size: optional(
    byteSize,
    'The most the cache may take on disk: bytes, or a number with KB, MB, GB or TB.',
  ),
  patterns: optional(
    v.pipe(
      list(pathPattern),
      v.maxLength(64, 'has more than 64 patterns, which every request would be compared with'),
    ),
    'Regular expressions over the path of a URL; what one of them finds is kept.',
  ),
  rules: optional(
    v.pipe(
      list(v.strictObject(cacheRuleKeys, 'is not a rule; write { name: NAME, match: { path: REGEX } }')),
      v.maxLength(64, 'has more than 64 rules, which every request would be compared with'),
    ),
    'What else is kept, and how.',
  ),
  ttl: optional(timeToLive, TTL),
  stale_if_error: optional(timeSpan, 'Time past it for which an entry is served when upstream fails.'),
  offline: optional(toggle, 'Whether only what is stored is served, and upstream asked for nothing.'),
  authorization: optional(
    v.picklist(['trust', 'revalidate'], 'is not a way; write trust or revalidate'),
    'Whether upstream is asked about credentials for what took credentials to fetch.',
  ),
  fill: optional(
    v.picklist(['always', 'share', 'readers'], 'is not a way; write always, share or readers'),
    'When a fetch that nobody reads any more goes on: always, past fill_share, or not.',
  ),
  fill_share: optional(percent, 'Percent of a body that must have come.'),
  min_free: optional(sizeOrNone, 'Bytes of the disk that are left free.'),
  memory: optional(sizeOrNone, 'Bytes of small entries held in memory.'),
  apart: optional(
    v.pipe(
      mapping(v.strictObject(apartKeys, 'is not a mapping; write { rules: […], hosts: […] }')),
      v.transform(({ by = NAMELESS, rules = [], hosts = [] }) => ({ by, rules, hosts })),
    ),
    'What is kept apart from the entries that everybody shares.',
  ),
}
