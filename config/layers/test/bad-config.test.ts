import t from 'tap'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execFileSync } from 'node:child_process'
import { loadConfigFile } from '../load.js'
import { ConfigError, formatProblem, type Problem } from '../../yaml/problem.js'

/** A file, and all that must be said of it, without the file's name. */
const BAD_FILES: readonly (readonly [string, ...string[]])[] = [
  ['port: 1', '1:1: unknown option "port"; did you mean "proxy.port"?'],
  ['cache:\n  max_sise: 1', '2:3: unknown option "cache.max_sise"; did you mean "max_size"?'],
  ['cache:\n  max-size: 1', '2:3: unknown option "cache.max-size"; did you mean "max_size"?'],
  ['cach:\n  enabled: true', '1:1: unknown option "cach"; did you mean "cache"?'],
  [
    'zzz: 1',
    '1:1: unknown option "zzz"; known here: proxy, tls, cache, headers, secrets, allowlist, blocklist, rules, policy, egress, upstream_proxy, timeouts, limits, logging, locks, end_marker',
  ],
  [
    'proxy:\n  port: 70000',
    '2:9: option "proxy.port": value 70000 is not a port; write a whole number from 0 to 65535',
  ],
  [
    'proxy:\n  port: -1.5',
    '2:9: option "proxy.port": value -1.5 is not a port; write a whole number from 0 to 65535',
  ],
  [
    'proxy:\n  port: "17080"',
    '2:9: option "proxy.port": value "17080" is not a port; write a whole number from 0 to 65535',
  ],
  ['proxy: { port: 17081 }', '1:16: option "proxy.port": proxy.port and proxy.api_port are both 17081'],
  [
    'proxy:\n  port: 1\n  api_port: 1',
    '3:13: option "proxy.api_port": proxy.port and proxy.api_port are both 1',
  ],
  [
    'proxy:\n  host: example.com',
    '2:9: option "proxy.host": value "example.com" is not an IP address; write 127.0.0.1, ::1 or another address of this machine',
  ],
  ['proxy:\n  host: []', '2:9: option "proxy.host": the list is empty; name at least one address'],
  [
    'proxy:\n  host: [127.0.0.1, nope]',
    '2:21: option "proxy.host[1]": value "nope" is not an IP address; write 127.0.0.1, ::1 or another address of this machine',
  ],
  ['proxy:\n  host: 5', '2:9: option "proxy.host": value 5 is not an IP address or a list of them'],
  ['proxy: 5', '1:8: option "proxy": value 5 is not a mapping; write its keys indented below it'],
  ['proxy: [a]', '1:8: option "proxy": the value is a list; write a mapping, KEY: VALUE'],
  ['proxy:\n  port:', '2:3: option "proxy.port" has no value; write one, or remove the key'],
  [
    'cache:\n  enabled: yes',
    '2:12: option "cache.enabled": value "yes" is not a switch; write true or false',
  ],
  [
    'cache:\n  max_size: 50XB',
    '2:13: option "cache.max_size": value "50XB" is not a size; write bytes, or a number with KB, MB, GB or TB',
  ],
  [
    'cache:\n  max_size: 0',
    '2:13: option "cache.max_size": value 0 is out of range; a size is a whole number of bytes from 1 to 9007199254740991',
  ],
  [
    'cache:\n  max_size: -5',
    '2:13: option "cache.max_size": value -5 is out of range; a size is a whole number of bytes from 1 to 9007199254740991',
  ],
  [
    'cache:\n  max_size: 1.5',
    '2:13: option "cache.max_size": value 1.5 is out of range; a size is a whole number of bytes from 1 to 9007199254740991',
  ],
  [
    'cache:\n  max_size: 99999999TB',
    '2:13: option "cache.max_size": value "99999999TB" is out of range; a size is a whole number of bytes from 1 to 9007199254740991',
  ],
  [
    'cache:\n  max_size: true',
    '2:13: option "cache.max_size": value true is not a size; write bytes, or a number with KB, MB, GB or TB',
  ],
  [
    'cache:\n  patterns: ["("]',
    '2:14: option "cache.patterns[0]": value "(" is not a regular expression: Unterminated group',
  ],
  [
    'cache:\n  patterns: [""]',
    '2:14: option "cache.patterns[0]": value "" is empty and would match everything; write a regular expression',
  ],
  [
    'cache:\n  patterns: ["(a+)+$"]',
    '2:14: option "cache.patterns[0]": value "(a+)+$" repeats a group that itself repeats or branches, or refers back to one, which can take for ever; write it without nesting',
  ],
  [
    'cache:\n  patterns: ["(a|aa)*b"]',
    '2:14: option "cache.patterns[0]": value "(a|aa)*b" repeats a group that itself repeats or branches, or refers back to one, which can take for ever; write it without nesting',
  ],
  [
    'cache:\n  patterns: "^/x"',
    '2:13: option "cache.patterns": value "^/x" is not a list; write [] for an empty one',
  ],
  ['cache:\n  patterns: [1]', '2:14: option "cache.patterns[0]": value 1 is not text; put it in quotes'],
  ['cache:\n  dir: ""', '2:8: option "cache.dir": value "" is empty; write a path'],
  [
    'cache:\n  dir: /.data/proxy',
    '2:8: option "cache.dir": cache.dir and tls.cert_dir must be folders apart from each other',
  ],
  ['tls:\n  cert_dir: [a]', '2:13: option "tls.cert_dir": the list is not text; put it in quotes'],
  [
    'tls:\n  passthrough: [bank.example:443]',
    '2:17: option "tls.passthrough[0]": value "bank.example:443" has a port; write the host alone',
  ],
  [
    'tls:\n  passthrough: ["a*.example"]',
    '2:17: option "tls.passthrough[0]": value "a*.example" is not a host pattern; write a name (example.com), *.example.com, example.* or *',
  ],
  [
    'allowlist:\n  domains: ["https://x.example/"]',
    '2:13: option "allowlist.domains[0]": value "https://x.example/" is not a host pattern; write a name (example.com), *.example.com, example.* or *',
  ],
  [
    'allowlist:\n  domains: ["10.0.0.*"]',
    '2:13: option "allowlist.domains[0]": value "10.0.0.*" has a wildcard in an address; write a CIDR block under ips',
  ],
  [
    'allowlist:\n  domains: ["*.0.0.1"]',
    '2:13: option "allowlist.domains[0]": value "*.0.0.1" has a wildcard in an address; write a CIDR block under ips',
  ],
  [
    'allowlist:\n  ips: [10.0.0.1/8]',
    '2:9: option "allowlist.ips[0]": value "10.0.0.1/8" has bits set beyond its prefix; write 10.0.0.0/8',
  ],
  [
    'allowlist:\n  ips: [10.0.0.0/33]',
    '2:9: option "allowlist.ips[0]": value "10.0.0.0/33" has a prefix length out of range; write /0 to /32',
  ],
  [
    'allowlist:\n  ips: [example.com]',
    '2:9: option "allowlist.ips[0]": value "example.com" is not an address or CIDR block; write 10.0.0.1, 10.0.0.0/8 or fd00::/8',
  ],
  [
    'allowlist:\n  ips: ["fe80::1%eth0"]',
    '2:9: option "allowlist.ips[0]": value "fe80::1%eth0" is not an address or CIDR block; write 10.0.0.1, 10.0.0.0/8 or fd00::/8',
  ],
  [
    'allowlist:\n  domains: [A.example]\nblocklist:\n  domains: [b.example, a.example]',
    '2:13: option "allowlist.domains[0]": "a.example" is on the blocklist too, in line 4; keep one',
  ],
  ['allowlist:\n  domains:\n', '2:3: option "allowlist.domains" has no value; write one, or remove the key'],
  [
    'logging:\n  level: warning',
    '2:10: option "logging.level": value "warning" is not a level; write debug, info, warn or error',
  ],
  [
    'logging:\n  format: xml',
    '2:11: option "logging.format": value "xml" is not a format; write text or json',
  ],
  [
    'headers:\n  x.example:\n    set:\n      "X Y": secret',
    '4:7: option "headers.x.example.set.X Y": the name is not a header name; write letters, digits and any of !#$%&\'*+-.^_`|~',
  ],
  [
    'headers:\n  x.example:\n    set:\n      Host: secret',
    '4:7: option "headers.x.example.set.Host": the name may not be set: it belongs to the connection, not to the request',
  ],
  [
    'headers:\n  x.example:\n    set:\n      X-A: 5',
    '4:12: option "headers.x.example.set.X-A": the value is not text; put it in quotes',
  ],
  [
    'headers:\n  x.example:\n    set:\n      X-A: "sec\\nret"',
    '4:12: option "headers.x.example.set.X-A": the value holds a line break or a NUL; write it on one line',
  ],
  [
    'headers:\n  x.example:\n    set:\n      X-A: "secret☃"',
    '4:12: option "headers.x.example.set.X-A": the value holds a character that HTTP headers cannot carry',
  ],
  [
    'headers:\n  x.example:\n    set:\n      X-A: " secret"',
    '4:12: option "headers.x.example.set.X-A": the value begins or ends with blanks, which HTTP drops; remove them',
  ],
  [
    'headers:\n  x.example:\n    set: { X-A: a }\n    append: { x-a: b }',
    '4:15: option "headers.x.example.append.x-a": the same header is under "set" in line 3; keep one',
  ],
  [
    'headers:\n  x.example:\n    set: { X-A: a, x-a: b }',
    '3:20: option "headers.x.example.set.x-a": the same header is under "set" in line 3; keep one',
  ],
  [
    'headers:\n  X.example: {}\n  x.example.: {}',
    '3:3: option "headers.x.example.": the same host pattern is in line 2',
  ],
  [
    'headers:\n  "x y": {}',
    '2:3: option "headers.x y": the name is not a host pattern; write a name (example.com), *.example.com, example.* or *',
  ],
  [
    'headers:\n  x.example:\n    remove: {}',
    '3:5: unknown option "headers.x.example.remove"; known here: set, append, conditions, insecure',
  ],
  [
    'headers:\n  x.example:\n    conditions: [{ header: X-A }]',
    '3:18: option "headers.x.example.conditions[0].equals" is missing',
  ],
  [
    'headers:\n  x.example:\n    conditions: [{ header: "X A", equals: secret }]',
    '3:28: option "headers.x.example.conditions[0].header": the value is not a header name; write letters, digits and any of !#$%&\'*+-.^_`|~',
  ],
  [
    'headers:\n  x.example: [secret]',
    '2:14: option "headers.x.example": the value is a list; write a mapping, KEY: VALUE',
  ],
  [
    'locks: [cache.max_sise]',
    '1:9: option "locks[0]": value "cache.max_sise" is not a key; did you mean "cache.max_size"?',
  ],
  [
    'locks: [locks]',
    '1:9: option "locks[0]": value "locks" is not a key; write one such as cache.max_size, or a section',
  ],
  [
    'cache:\n  enabled: true\n  enabled: false',
    '3:3: option "cache.enabled" is given twice; the first is in line 2',
  ],
  ['cache:\n  __proto__: 1', '2:3: unknown option "cache.__proto__"'],
  ['cache: {', '1:9: not valid YAML: wrong indentation, or a bracket that is not closed'],
  ['cache:\n\tenabled: true', '2:1: not valid YAML: a tab as indentation; use spaces'],
  [
    'a: b: c',
    '1:4: not valid YAML: a second ": " in one line; put the value in quotes, or the key on its own line',
  ],
  ...[
    ['a: [*.example.com]', '1:5'],
    ['blocklist:\n  domains:\n    - *.example.com\n', '3:7'],
    ['allowlist: { domains: [*] }', '1:24'],
    ['headers:\n  *.example.com: {}\n', '2:18'],
    ['headers:\n  *:\n    set: {}\n', '3:1'],
    ['headers: {*.example.com: {}}', '1:11'],
  ].map(
    ([text = '', place]) =>
      [
        text,
        `${place}: not valid YAML: what begins with * is an alias; put a host pattern in quotes: '*.example.com'`,
      ] as const,
  ),
  ['cache: *none', '1:8: not usable: an alias (*) has no anchor (&) before it'],
  ['cache: !foo 1', '1:8: not valid YAML: a tag (!) is not known, or does not fit its value'],
  ['logging: |secret\n  x', '1:11: not valid YAML: this does not belong here'],
  [
    'headers: "\\q"',
    '1:11: not valid YAML: an escape in double quotes is not known; use single quotes, or write \\\\ for a backslash',
  ],
  ['- a', '1:1: the file is a list; write a mapping, KEY: VALUE'],
  ['just text', '1:1: the file is not a mapping; write proxy:, cache: and so on'],
  [
    'logging: {}\n...\nblocklist: { domains: [a.test] }\n',
    '3:1: not valid YAML: text follows the line "..." that ends the file; write it above that line',
  ],
  ['---\n---\n', '2:1: not valid YAML: a second document begins; write one'],
  [
    'a: 1\nb',
    '2:1: not valid YAML: something is missing: a closing quote, a ":" after a key, or a "," between items',
  ],
  [
    'a: "x',
    '1:6: not valid YAML: something is missing: a closing quote, a ":" after a key, or a "," between items',
  ],
  ['cache: "\u0000"', '1:9: not usable: a control character is not allowed'],
  ['a: &a [*a, *a]', '1:8: not usable: its aliases expand to too much'],
  [
    '[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[',
    '1:17: not usable: it is nested too deeply',
  ],
  ['? [a]\n: 1', '1:3: not valid YAML: a key is not text'],
  [
    'cache:\n   enabled: true\n  dir: x',
    '3:1: not valid YAML: wrong indentation, or a bracket that is not closed',
  ],
  [
    'headers:\n  x.example: &r\n    set: { X-A: a }\n  y.example: *r\n  z.example: { set: *r }',
    '5:21: option "headers.z.example.set.set": the value is not text; put it in quotes',
  ],
  [
    'proxy:\n  port: 70000\ncache:\n  max_size: x\nlogging:\n  levle: info',
    '2:9: option "proxy.port": value 70000 is not a port; write a whole number from 0 to 65535',
    '4:13: option "cache.max_size": value "x" is not a size; write bytes, or a number with KB, MB, GB or TB',
    '6:3: unknown option "logging.levle"; did you mean "level"?',
  ],
]

t.test('every mistake in a file is told with its place, what is there and what would be right', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  for (const [text, ...messages] of BAD_FILES) {
    writeFileSync(file, text)
    t.strictSame(
      (await problemsOf(file)).map(formatProblem),
      messages.map((message) => `${file}:${message}`),
      JSON.stringify(text),
    )
  }
})

t.test('a message never holds the value of a header', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  for (const [text] of BAD_FILES.filter(([text]) => text.includes('secret'))) {
    writeFileSync(file, text)
    const problems = await problemsOf(file)
    // The folder of a checkout may be called anything.
    const told = problems.map((problem) => formatProblem(problem).replaceAll(file, 'FILE'))
    t.notMatch(told.join('\n'), /secret/, JSON.stringify(text))
  }
})

t.test('a file that is no small text file is refused without reading it', async (t) => {
  const folder = t.testdir({
    'large.yaml': `# ${'x'.repeat(1024 * 1024)}`,
    'latin1.yaml': Buffer.from([0x23, 0xe9]),
  })
  mkdirSync(join(folder, 'folder.yaml'))
  execFileSync('mkfifo', [join(folder, 'fifo.yaml')])
  const expected = {
    'absent.yaml': 'cannot read it: it does not exist',
    'large.yaml': 'cannot read it: it is larger than 1048576 bytes',
    'latin1.yaml': 'cannot read it: it is not UTF-8 text',
    'folder.yaml': 'cannot read it: it is not a regular file',
    'fifo.yaml': 'cannot read it: it is not a regular file',
  }
  for (const [name, message] of Object.entries(expected)) {
    const file = join(folder, name)
    t.strictSame(await problemsOf(file), [{ kind: 'unreadable', file, message }])
  }
})

t.test(
  'a file made to exhaust the parser is refused in a few seconds at most, and does not end the process',
  async (t) => {
    const file = join(t.testdir(), 'config.yaml')
    const pieces = ['[', '{a: ', '- ', '? ', '"\\n" : ', 'a: ', '&a ', '!a ', '[? ', 'a:\n', '- &a\n', '[: ']
    for (const piece of pieces) {
      writeFileSync(file, piece.repeat((100 * 1024) / piece.length))
      const started = performance.now()
      t.ok((await problemsOf(file)).length > 0, JSON.stringify(piece))
      t.ok(performance.now() - started < 5000, `${JSON.stringify(piece)} in time`)
    }
    writeFileSync(
      file,
      `a: &a [1, 2]\n${Array.from({ length: 99 }, (_, i) => `b${i}: &b${i} [*a, *a]`).join('\n')}`,
    )
    t.match(await problemsOf(file), [{ message: 'not usable: more than 100 anchors, aliases and tags' }])
  },
)

t.test('a file full of mistakes is told in fifty lines and a count', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  writeFileSync(file, Array.from({ length: 80 }, (_, index) => `zzz${index}: 1`).join('\n'))
  const problems = await problemsOf(file)
  t.equal(problems.length, 51)
  t.equal(problems.at(-1)?.message, 'and 30 more problems')
})

t.test('the error names the file and lists all of its problems, one a line', async (t) => {
  const file = join(
    t.testdir({ 'config.yaml': 'proxy: { port: x }\nlogging: { level: x }\n' }),
    'config.yaml',
  )
  const error: unknown = await loadConfigFile(file).catch((thrown: unknown) => thrown)
  t.ok(error instanceof ConfigError)
  t.match(error, { code: 'CONFIG_INVALID', file })
  t.equal(
    error instanceof Error ? error.message : '',
    [
      `cannot use the configuration in ${file}:`,
      `  ${file}:1:16: option "proxy.port": value "x" is not a port; write a whole number from 0 to 65535`,
      `  ${file}:2:19: option "logging.level": value "x" is not a level; write debug, info, warn or error`,
    ].join('\n'),
  )
})

async function problemsOf(file: string): Promise<readonly Problem[]> {
  try {
    await loadConfigFile(file)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}
