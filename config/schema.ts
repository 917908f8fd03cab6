import { isIP } from 'node:net'
import * as v from 'valibot'
import { BYTE_SIZE_PATTERN, parseByteSize } from './byte-size.js'
import { headerNameComplaint, headerValueComplaint, ruleHeaderComplaint } from './header-field.js'
import { formatHostPattern, parseHostPattern } from './host-pattern.js'
import { formatIpBlock, parseIpBlock } from './ip-set.js'
import { nearestName } from './nearest-name.js'
import { pathPatternComplaint } from './path-pattern.js'
import { LOOPBACK } from './paths.js'
import { rulePathComplaint } from './rule-path.js'
import { SECRET_NAME_PATTERN } from './secret-template.js'
import { MAX_TIME_SPAN_MS, TIME_SPAN_PATTERN, parseTimeSpan } from './time-span.js'

/*
 * The shape of a configuration file: every key may be left out, sizes come out as bytes, hosts and addresses
 * in their one spelling. Messages end the sentence "value X …"; descriptions are for editors.
 */

const text = v.string('is not text; put it in quotes')
const toggle = v.boolean('is not a switch; write true or false')

const port = v.pipe(
  v.number('is not a port; write a whole number from 0 to 65535'),
  v.integer('is not a port; write a whole number from 0 to 65535'),
  v.minValue(0, 'is not a port; write a whole number from 0 to 65535'),
  v.maxValue(65535, 'is not a port; write a whole number from 0 to 65535'),
)

const NOT_A_TARGET_PORT = 'is not a port; write a whole number from 1 to 65535'
const targetPort = v.pipe(
  v.number(NOT_A_TARGET_PORT),
  v.integer(NOT_A_TARGET_PORT),
  v.minValue(1, NOT_A_TARGET_PORT),
  v.maxValue(65535, NOT_A_TARGET_PORT),
)

const listenAddress = v.pipe(
  v.string('is not an IP address'),
  judged((host) => {
    if (host === 'localhost' || isIP(host) !== 0) return undefined
    return 'is not an IP address; write 127.0.0.1, ::1 or another address of this machine'
  }),
)

const listenAddresses = v.pipe(
  v.union(
    [listenAddress, v.pipe(v.array(listenAddress), v.minLength(1, 'is empty; name at least one address'))],
    'is not an IP address or a list of them',
  ),
  v.description('IP address to listen on, or a list of them.'),
  v.transform((host): readonly string[] => {
    const hosts = (typeof host === 'string' ? [host] : host).map((name) =>
      name === 'localhost' ? LOOPBACK : name,
    )
    return [...new Set(hosts)]
  }),
)

const path = v.pipe(
  text,
  judged((file) => {
    if (file === '') return 'is empty; write a path'
    return file.includes('\0') ? 'holds a NUL' : undefined
  }),
)

const logFile = v.pipe(
  text,
  judged((file) => (file.includes('\0') ? 'holds a NUL' : undefined)),
)

const byteSize = v.pipe(
  v.union([v.number(), v.string()], 'is not a size; write bytes, or a number with KB, MB, GB or TB'),
  v.rawTransform<number | string, number>(({ dataset, addIssue, NEVER }) => {
    const bytes = parseByteSize(dataset.value)
    if (bytes !== undefined) return bytes
    const isSize = typeof dataset.value === 'number' || BYTE_SIZE_PATTERN.test(dataset.value)
    addIssue({
      message: isSize
        ? 'is out of range; a size is a whole number of bytes from 1 to 9007199254740991'
        : 'is not a size; write bytes, or a number with KB, MB, GB or TB',
    })
    return NEVER
  }),
)

const sizeOrNone = v.union(
  [v.literal(0), byteSize],
  'is not a size; write 0 for none, bytes, or a number with KB, MB, GB or TB',
)

const timeSpan = v.pipe(
  v.union([v.number(), v.string()], 'is not a time span; write 90s, 12h, 7d or 2w'),
  v.rawTransform<number | string, number>(({ dataset, addIssue, NEVER }) => {
    const ms = parseTimeSpan(dataset.value)
    if (ms !== undefined) return ms
    const isSpan = typeof dataset.value === 'number' || TIME_SPAN_PATTERN.test(dataset.value)
    addIssue({
      message: isSpan
        ? `is out of range; a time span is at most ${MAX_TIME_SPAN_MS / 86_400_000}d, in whole milliseconds`
        : 'is not a time span; write 90s, 12h, 7d or 2w',
    })
    return NEVER
  }),
)

const PERCENT = 'is not a share; write a whole number of percent from 1 to 100'
const percent = v.pipe(
  v.number(PERCENT),
  v.integer(PERCENT),
  v.minValue(1, PERCENT),
  v.maxValue(100, PERCENT),
)

const hostPattern = v.pipe(
  v.string('is not a host pattern; put it in quotes'),
  judged((pattern) => onlyComplaint(parseHostPattern(pattern))),
  v.transform((pattern) => canonicalPattern(pattern)),
)

const ipBlock = v.pipe(
  v.string('is not an address or CIDR block; put it in quotes'),
  judged((entry) => onlyComplaint(parseIpBlock(entry))),
  v.transform((entry) => {
    const block = parseIpBlock(entry)
    return typeof block === 'string' ? entry : formatIpBlock(block)
  }),
)

const headerFields = v.record(
  v.pipe(v.string(), judged(ruleHeaderComplaint)),
  v.pipe(v.string('is not text; put it in quotes'), judged(headerValueComplaint)),
  'is not a mapping of header names to values',
)

const condition = v.strictObject(
  {
    header: described(v.pipe(text, judged(headerNameComplaint)), 'Header of the request, in any case.'),
    equals: described(v.pipe(text, judged(headerValueComplaint)), 'The value it must have, exactly.'),
  },
  'is not a condition; write { header: NAME, equals: VALUE }',
)

const ruleKeys = {
  set: optional(mapping(headerFields), 'Header → value that replaces what the client sent.'),
  append: optional(mapping(headerFields), 'Header → value joined to what the client sent with ", ".'),
  conditions: optional(list(condition), 'All must hold for the rule to apply; none means always.'),
  insecure: optional(
    toggle,
    'Whether the rule applies to plain HTTP too, where anybody on the way can read it.',
  ),
}

const headers = v.record(
  // Kept as written, so that two spellings of one pattern can be told from one.
  v.pipe(
    v.string(),
    judged((pattern) => onlyComplaint(parseHostPattern(pattern))),
  ),
  mapping(
    v.strictObject(ruleKeys, 'is not a header rule; write set, append, conditions or insecure below it'),
  ),
  'is not a mapping of host patterns to rules',
)

/** A condition that was emptied would match everything. */
function anyOf<const Item extends v.GenericSchema>(item: Item) {
  return v.pipe(list(item), v.minLength(1, 'is empty; remove the key where anything may match'))
}

const accessRuleKeys = {
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

const secretName = v.pipe(
  v.string(),
  judged((name) =>
    SECRET_NAME_PATTERN.test(name)
      ? undefined
      : 'is not usable; write letters, digits and "_", as in API_KEY',
  ),
)

const variable = v.pipe(
  text,
  judged((name) =>
    SECRET_NAME_PATTERN.test(name)
      ? undefined
      : 'is not the name of a variable, as in DISCOBOT_SECRET_API_KEY',
  ),
)

/** Short enough to type, too long to be met by chance. */
const MIN_PLACEHOLDER_LENGTH = 8

const placeholder = v.pipe(
  text,
  judged((value) => {
    if (value.length < MIN_PLACEHOLDER_LENGTH)
      return `is shorter than ${MIN_PLACEHOLDER_LENGTH} characters, so that it could be met by chance`
    // Without these it stays one word in `Bearer X`, and one part of `user:X`.
    return /^[\x21-\x39\x3b-\x7e]+$/.test(value)
      ? undefined
      : 'holds something other than ASCII letters, digits and signs, or a ":"'
  }),
)

const secretKeys = {
  hosts: described(
    v.pipe(list(hostPattern), v.minLength(1, 'is empty; name the hosts it may go to')),
    'Host patterns the secret may go to.',
  ),
  env: optional(variable, "Variable of the proxy's environment; the secret's own name unless given."),
  file: optional(path, 'File that holds the secret and nothing else, not readable by others.'),
  placeholder: optional(placeholder, 'What clients send in its place.'),
  placeholder_headers: optional(
    v.pipe(
      list(v.pipe(text, judged(ruleHeaderComplaint))),
      v.minLength(1, 'is empty; name a header, or remove the key'),
    ),
    'Headers in which the placeholder is looked for.',
  ),
}

const secrets = v.record(
  secretName,
  v.strictObject(secretKeys, 'is not a secret; write hosts, and env or file, below it'),
  'is not a mapping of names to secrets',
)
const pathPattern = v.pipe(text, judged(pathPatternComplaint))

const matchKeys = {
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

const cacheRuleKeys = {
  name: described(
    v.pipe(
      text,
      v.regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'is not a name; write small letters, digits and hyphens'),
      v.notValue('patterns', 'is the name of cache.patterns; choose another'),
    ),
    'Name of the rule; one that is shipped is changed by it.',
  ),
  match: optional(v.strictObject(matchKeys, 'is not a mapping; write { path: REGEX }'), 'What it is for.'),
  ttl: optional(timeSpan, 'Time after which upstream is asked again; 0 means never.'),
  ignore_query: optional(toggle, 'Whether requests that differ only in their query share an entry.'),
  verify: optional(
    v.picklist(['sha256', 'sha512'], 'is not a digest; write sha256 or sha512'),
    'Digest in the path that the body must have.',
  ),
  max_object: optional(byteSize, 'The largest body that is kept.'),
  enabled: optional(toggle, 'Whether the rule counts.'),
}

const sections = {
  proxy: {
    port: optional(port, 'TCP port of the proxy: HTTP, HTTPS and SOCKS5. 0 lets the kernel choose.'),
    api_port: optional(port, 'TCP port of the API. 0 lets the kernel choose.'),
    host: v.exactOptional(listenAddresses),
  },
  tls: {
    cert_dir: optional(path, 'Folder of the certificate authority: ca.crt and ca.key.'),
    passthrough: optional(list(hostPattern), 'Hosts whose TLS passes through unopened.'),
    upstream_ca: optional(list(path), "PEM files trusted for upstream servers besides the system's store."),
  },
  cache: {
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
    ttl: optional(timeSpan, 'Time after which upstream is asked again; 0 means never.'),
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
  },
  allowlist: {
    enabled: optional(toggle, 'Whether only what is listed may be reached.'),
    domains: optional(list(hostPattern), 'Host patterns that may be reached.'),
    ips: optional(list(ipBlock), 'Addresses or CIDR blocks that may be reached.'),
  },
  blocklist: {
    domains: optional(list(hostPattern), 'Host patterns that may not be reached.'),
    ips: optional(list(ipBlock), 'Addresses or CIDR blocks that may not be reached.'),
  },
  policy: {
    mode: optional(
      v.picklist(['enforce', 'observe'], 'is not a mode; write enforce or observe'),
      'Whether lists and rules block, or only record what they would block.',
    ),
  },
  egress: {
    private: optional(
      v.picklist(['allow', 'deny'], 'is not allow or deny'),
      'Whether addresses that the public internet does not route may be dialled.',
    ),
    connect_ports: optional(list(targetPort), 'Ports that CONNECT and SOCKS may name; empty means any.'),
    allow: optional(list(ipBlock), 'Addresses or CIDR blocks that may be dialled; empty means any.'),
    block: optional(list(ipBlock), 'Addresses or CIDR blocks that may not be dialled.'),
  },
  logging: {
    level: optional(
      v.picklist(['debug', 'info', 'warn', 'error'], 'is not a level; write debug, info, warn or error'),
      'The least severe line that is written.',
    ),
    format: optional(
      v.picklist(['text', 'json'], 'is not a format; write text or json'),
      'Form of the lines.',
    ),
    file: optional(logFile, 'File to append to; empty means standard output.'),
  },
}

/** Every request is compared with each of them. */
export const MAX_RULES = 256
export const TOO_MANY_RULES = `has more than ${MAX_RULES} rules, with which every request would be compared`

/** Section → its keys; `headers`, `secrets`, `rules` and `locks` have no fixed ones. */
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
]

const LOCKABLE = [...LEAF_NAMES.filter((name) => name !== 'locks'), ...Object.keys(SECTION_KEYS)]

const lock = v.pipe(
  text,
  judged((name) => {
    if (LOCKABLE.includes(name)) return undefined
    const nearest = nearestName(name, LOCKABLE)
    return `is not a key${nearest === undefined ? '; write one such as cache.max_size, or a section' : `; did you mean "${nearest}"?`}`
  }),
)

const NOT_A_MAPPING = 'is not a mapping; write its keys indented below it'

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
    rules: optional(
      v.pipe(list(accessRule), v.maxLength(MAX_RULES, TOO_MANY_RULES)),
      'Who may be asked for what: hosts together with methods, paths and ports.',
    ),
    policy: optional(
      mapping(v.strictObject(sections.policy, NOT_A_MAPPING)),
      'How lists and rules are applied.',
    ),
    egress: optional(mapping(v.strictObject(sections.egress, NOT_A_MAPPING)), 'Where connections may lead.'),
    logging: optional(mapping(v.strictObject(sections.logging, NOT_A_MAPPING)), 'What is logged, and how.'),
    locks: optional(list(lock), "Keys or sections that a workspace's file may not change."),
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
      return Object.keys(section === 'secrets' ? secretKeys : ruleKeys)
    case 3:
      return undefined
    default:
      return Object.keys(condition.entries)
  }
}

/** The one spelling of a pattern that has been found valid. */
export function canonicalPattern(text: string): string {
  const pattern = parseHostPattern(text)
  return typeof pattern === 'string' ? text : formatHostPattern(pattern)
}

function judged(complaint: (value: string) => string | undefined): v.RawCheckAction<string> {
  return v.rawCheck(({ dataset, addIssue }) => {
    const message = dataset.typed ? complaint(dataset.value) : undefined
    if (message !== undefined) addIssue({ message })
  })
}

function onlyComplaint(parsed: object | string): string | undefined {
  return typeof parsed === 'string' ? parsed : undefined
}

function list<const Item extends v.GenericSchema>(item: Item) {
  return v.array(item, 'is not a list; write [] for an empty one')
}

/** A key with nothing but comments below it is an empty mapping. */
function mapping<const Schema extends v.GenericSchema<object, object>>(schema: Schema) {
  return v.nullable(schema, () => ({}) as v.InferInput<Schema>)
}

function described<const Schema extends v.GenericSchema>(schema: Schema, description: string) {
  return v.pipe(schema, v.description(description))
}

function optional<const Schema extends v.GenericSchema>(schema: Schema, description: string) {
  return v.exactOptional(described(schema, description))
}
