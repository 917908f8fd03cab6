import t, { type Test } from 'tap'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { composeConfig, type Composed } from '../../compose.js'
import { WORKSPACE_CONFIG } from '../../layers/config-texts.js'
import { loadConfigFile, loadDefaultConfig } from '../../layers/load.js'
import { dataPaths } from '../../model/paths.js'
import { formatProblem } from '../../yaml/problem.js'

interface Place {
  readonly operatorFile: string
  readonly workspaceFile: string
  readonly dataDir: string
  /** Composes the files as they are, with messages that name them `operator` and `workspace`. */
  compose(): Promise<{ readonly composed: Composed; readonly messages: readonly string[] }>
}

/** A data dir and two files in a folder of their own; `undefined` leaves a file out. */
function place(t: Test, operator: string | undefined, workspace?: string): Place {
  const folder = t.testdir()
  const operatorFile = join(folder, 'operator.yaml')
  const workspaceFile = join(folder, 'workspace', WORKSPACE_CONFIG)
  const dataDir = join(folder, 'data')
  mkdirSync(dirname(workspaceFile), { recursive: true })
  mkdirSync(dataPaths(dataDir).proxyDir, { recursive: true })
  if (operator !== undefined) writeFileSync(operatorFile, operator)
  if (workspace !== undefined) writeFileSync(workspaceFile, workspace)
  const compose = async () => {
    const composed = await composeConfig({
      dataDir,
      operatorFile: operator === undefined ? undefined : operatorFile,
      workspaceFile,
    })
    const messages = composed.problems.map((problem) =>
      formatProblem(problem)
        .replaceAll(operatorFile, 'operator')
        .replaceAll(workspaceFile, 'workspace')
        .replaceAll(dataDir, 'DATA'),
    )
    return { composed, messages }
  }
  return { operatorFile, workspaceFile, dataDir, compose }
}

t.test('without any file the default is in force, with its folders under the data dir', async (t) => {
  const { dataDir, compose } = place(t, undefined)
  const { composed, messages } = await compose()
  t.strictSame(messages, [])
  t.equal(composed.inForce, 'composed')
  t.strictSame(composed.config, loadDefaultConfig({ dataDir }).config)
  t.equal(composed.config.tls.cert_dir, join(dataDir, 'proxy/certs'))
  t.equal(composed.config.cache.dir, join(dataDir, 'proxy/cache'))
  t.strictSame(composed.sources['cache.max_size'], [
    { layer: 'default', file: 'default.yaml', line: 42, col: 13 },
  ])
})

t.test(
  'each key comes from the operator, else the workspace, else the default, and it is known which',
  async (t) => {
    const { operatorFile, workspaceFile, compose } = place(
      t,
      'cache:\n  max_size: 1GB\nheaders:\n  a.example: { set: { X-A: operator } }\n',
      'cache:\n  max_size: 2GB\n  patterns: [^/x]\ntimeouts:\n  idle: 5m\nheaders:\n  b.example: { set: { X-B: workspace } }\n',
    )
    const { composed, messages } = await compose()
    t.strictSame(messages, [])
    const { config, sources } = composed
    t.equal(config.cache.max_size, 1024 ** 3)
    t.strictSame(config.cache.patterns, ['^/x'])
    t.equal(config.timeouts.idle, 300_000)
    t.equal(config.logging.format, 'text')
    t.strictSame(Object.keys(config.headers), ['a.example', 'b.example'])
    t.strictSame(config.headers['b.example'], {
      set: { 'X-B': 'workspace' },
      append: {},
      conditions: [],
      insecure: false,
    })
    t.strictSame(sources['cache.max_size'], [{ layer: 'operator', file: operatorFile, line: 2, col: 13 }])
    t.strictSame(sources['cache.patterns'], [{ layer: 'workspace', file: workspaceFile, line: 3, col: 13 }])
    t.strictSame(sources['headers.b.example'], [{ layer: 'workspace', file: workspaceFile, line: 7, col: 3 }])
    t.throws(() => Object.assign(config.cache, { max_size: 1 }), TypeError, 'the configuration is frozen')
    t.throws(() => Object.assign(config.headers['a.example']?.set ?? {}, { 'X-A': '' }), TypeError)
  },
)

t.test(
  "the example of the description this project comes from works as a workspace's file anywhere",
  async (t) => {
    const example = `proxy:
  port: 17080
  api_port: 17081
tls:
  cert_dir: /.data/proxy/certs
cache:
  enabled: true
  dir: /.data/proxy/cache
  max_size: 53687091200
  patterns: ["^/v2/.*/blobs/sha256:.*"]
logging: { level: info, format: text }
allowlist:
  enabled: false
  domains: []
`
    const { dataDir, compose } = place(t, undefined, example)
    const { composed, messages } = await compose()
    t.strictSame(messages, [])
    t.equal(composed.config.cache.max_size, 53687091200)
    t.equal(composed.config.tls.cert_dir, join(dataDir, 'proxy/certs'))
    t.equal(composed.config.cache.dir, join(dataDir, 'proxy/cache'))
  },
)

t.test('what a workspace may not say is refused, key by key, and the rest of its file counts', async (t) => {
  const { compose, dataDir } = place(
    t,
    'headers:\n  "*.corp.example": { set: { X-Corp: "1" } }\n',
    `proxy: { port: 8080, api_port: 8081, host: 0.0.0.0 }
tls:
  cert_dir: /tmp/certs
  passthrough: ['*']
  upstream_ca: [ca.pem]
cache:
  dir: ../elsewhere
  max_size: 1GB
logging: { file: /etc/cron.d/x }
locks: [cache]
headers:
  '*.corp.example': { set: { X-A: mine } }
  git.corp.example: { set: { X-A: mine } }
  '*': { set: { X-A: everywhere } }
  other.example: { set: { Authorization: 'Bearer \${TOKEN}' } }
  third.example: { conditions: [{ header: X-A, equals: '\${TOKEN}' }] }
`,
  )
  const { composed, messages } = await compose()
  t.strictSame(messages, [
    `workspace:1:16: option "proxy.port" is refused: the container's processes are told to use port 17080; a workspace may not change it`,
    `workspace:1:32: option "proxy.api_port" is refused: the container's processes are told to use port 17081; a workspace may not change it`,
    'workspace:1:44: option "proxy.host" is refused: a workspace may only choose loopback addresses',
    'workspace:3:13: option "tls.cert_dir" is refused: a workspace may not change how TLS is opened or trusted',
    'workspace:4:16: option "tls.passthrough" is refused: a workspace may not change how TLS is opened or trusted',
    'workspace:5:16: option "tls.upstream_ca" is refused: a workspace may not change how TLS is opened or trusted',
    `workspace:7:8: option "cache.dir" is refused: the store is every session's; a workspace may not choose its folder`,
    'workspace:8:13: option "cache.max_size" is refused: a workspace may only choose more than 21474836480 bytes',
    `workspace:9:18: option "logging.file" is refused: the log is the operator's; a workspace may not change it`,
    `workspace:10:8: option "locks" is refused: only the operator's file may lock keys`,
    'workspace:12:3: option "headers.*.corp.example" is refused: the operator has a rule for "*.corp.example", which this one would replace',
    'workspace:13:3: option "headers.git.corp.example" is refused: the operator has a rule for "*.corp.example", which this one would replace',
    'workspace:15:42: option "headers.other.example.set.Authorization" is refused: a workspace may not name secrets (${…}); this rule is not used',
    'workspace:16:56: option "headers.third.example.conditions[0].equals" is refused: a workspace may not name secrets (${…}); this rule is not used',
  ])
  t.ok(composed.problems.every((problem) => problem.kind === 'refused'))
  const expected = loadDefaultConfig({ dataDir }).config
  t.strictSame(composed.config.proxy, expected.proxy)
  t.strictSame(composed.config.tls, expected.tls)
  const apart = { by: composed.config.cache.apart.by, rules: [], hosts: ['*'] }
  t.strictSame(composed.config.cache, { ...expected.cache, apart })
  t.strictSame(composed.config.logging, expected.logging)
  t.strictSame(Object.keys(composed.config.headers), ['*.corp.example', '*'])
})

t.test(
  'a workspace may choose loopback, as long as the address that processes use is among it',
  async (t) => {
    const { workspaceFile, compose } = place(t, undefined, 'proxy: { host: [127.0.0.1, "::1"] }\n')
    const { composed, messages } = await compose()
    t.strictSame(messages, [])
    t.strictSame(composed.config.proxy.host, ['127.0.0.1', '::1'])
    writeFileSync(workspaceFile, 'proxy: { host: "::1" }\n')
    t.match((await compose()).messages, [/which is not in it$/])
  },
)

t.test('what the operator locks stays, and saying it again is no offence', async (t) => {
  const { compose } = place(
    t,
    'cache: { max_size: 1GB }\nlocks: [cache.enabled, logging, headers, blocklist.domains, allowlist]\n',
    `cache: { enabled: false, max_size: 5GB, patterns: [^/x] }
logging: { level: info, format: json }
headers: { a.example: { set: { X-A: a } } }
blocklist: { domains: [b.example], ips: [10.0.0.1] }
allowlist: { enabled: true }
`,
  )
  const { composed, messages } = await compose()
  t.strictSame(messages, [
    'workspace:1:19: option "cache.enabled" is refused: the operator has locked it',
    'workspace:2:33: option "logging.format" is refused: the operator has locked it',
    'workspace:3:12: option "headers.a.example" is refused: the operator has locked it',
    'workspace:4:23: option "blocklist.domains" is refused: the operator has locked it',
    'workspace:5:23: option "allowlist.enabled" is refused: the operator has locked it',
  ])
  const { config } = composed
  t.strictSame(
    [config.cache.enabled, config.cache.max_size, config.cache.patterns],
    [true, 1024 ** 3, ['^/x']],
  )
  t.strictSame([config.logging.format, config.headers, config.allowlist.enabled], ['text', {}, false])
  t.strictSame(config.blocklist, { domains: [], ips: ['10.0.0.1'] })
})

t.test("a workspace's lists can only narrow where traffic may go", async (t) => {
  const { operatorFile, workspaceFile, compose } = place(
    t,
    'allowlist:\n  enabled: true\n  domains: ["*.example.com", docker.io]\n  ips: [10.0.0.0/8]\nblocklist:\n  domains: [bad.example.com]\n',
    `allowlist:
  enabled: false
  domains: [a.example.com, evil.com, "*.b.example.com", "*"]
  ips: [10.1.0.0/16, 11.0.0.1, "::/0"]
blocklist:
  domains: [docker.io, bad.example.com]
`,
  )
  const { composed, messages } = await compose()
  t.strictSame(messages, [
    'workspace:2:12: option "allowlist.enabled" is refused: the operator restricts where traffic may go; a workspace may not lift that',
    'workspace:3:28: option "allowlist.domains[1]" is refused: "evil.com" is not covered by the operator\'s allowlist',
    'workspace:3:57: option "allowlist.domains[3]" is refused: "*" is not covered by the operator\'s allowlist',
    'workspace:4:22: option "allowlist.ips[1]" is refused: "11.0.0.1" is not covered by the operator\'s allowlist',
    'workspace:4:32: option "allowlist.ips[2]" is refused: "::/0" is not covered by the operator\'s allowlist',
  ])
  t.strictSame(composed.config.allowlist, {
    enabled: true,
    domains: ['a.example.com', '*.b.example.com'],
    ips: ['10.1.0.0/16'],
  })
  t.strictSame(composed.config.blocklist.domains, ['bad.example.com', 'docker.io'])
  t.match(composed.sources['blocklist.domains'], [{ file: operatorFile }, { file: workspaceFile }])
})

t.test(
  'a workspace may switch on an allowlist where the operator has none, and nothing is allowed then but what is on it',
  async (t) => {
    const { workspaceFile, compose } = place(
      t,
      'allowlist: { enabled: false, domains: [op.example] }\n',
      'allowlist: { enabled: true, domains: [a.example] }\n',
    )
    t.strictSame((await compose()).composed.config.allowlist, {
      enabled: true,
      domains: ['a.example'],
      ips: [],
    })
    writeFileSync(workspaceFile, 'allowlist: { enabled: true }\n')
    t.strictSame((await compose()).composed.config.allowlist, {
      enabled: true,
      domains: ['op.example'],
      ips: [],
    })
    writeFileSync(workspaceFile, 'allowlist: { domains: [a.example] }\n')
    t.strictSame((await compose()).composed.config.allowlist, {
      enabled: false,
      domains: ['op.example'],
      ips: [],
    })
  },
)

t.test('where nothing on both allowlists is left, nothing is allowed', async (t) => {
  const { compose } = place(
    t,
    'allowlist: { enabled: true, domains: [a.example] }\n',
    'allowlist: { domains: [b.example] }\n',
  )
  t.strictSame((await compose()).composed.config.allowlist, { enabled: true, domains: [], ips: [] })
})

t.test('a broken workspace file is left out as a whole, and told', async (t) => {
  const { workspaceFile, compose } = place(t, 'cache: { max_size: 1GB }\n', 'logging: { level: debug\n')
  const broken: readonly (readonly [string, string])[] = [
    [
      'logging: { level: debug\n',
      'workspace:2:1: not valid YAML: wrong indentation, or a bracket that is not closed',
    ],
    [
      'logging: { level: debug }\nzzz: 1\n',
      'workspace:2:1: unknown option "zzz"; known here: proxy, tls, cache, headers, secrets, allowlist, blocklist, rules, policy, egress, upstream_proxy, timeouts, limits, logging, locks, end_marker',
    ],
    [`# ${'x'.repeat(128 * 1024)}`, 'workspace: cannot read it: it is larger than 131072 bytes'],
  ]
  for (const [text, message] of broken) {
    writeFileSync(workspaceFile, text)
    const { composed, messages } = await compose()
    t.strictSame(messages, [message])
    t.equal(composed.inForce, 'composed')
    t.equal(composed.config.logging.level, 'info')
    t.equal(composed.config.cache.max_size, 1024 ** 3)
    t.match(composed.yaml, '# workspace: none\n')
  }
})

t.test("a workspace's file that is a link to elsewhere is not read", async (t) => {
  const { operatorFile, workspaceFile, compose } = place(t, 'token_of_the_operator: 1\n')
  symlinkSync(operatorFile, workspaceFile)
  const composed = await composeConfig({ dataDir: t.testdirName, workspaceFile })
  t.strictSame(composed.problems.map(formatProblem), [
    `${workspaceFile}: cannot read it: it is a symbolic link that leads elsewhere`,
  ])
  t.equal((await compose()).composed.inForce, 'deny-all')
})

t.test(
  'a file of the workspace that says nothing means the default, and so does {} of the operator',
  async (t) => {
    const { dataDir, compose } = place(t, '{}', '# nothing\nheaders:\n  # nobody\n')
    const { composed, messages } = await compose()
    t.strictSame(messages, [])
    t.strictSame(composed.config, loadDefaultConfig({ dataDir }).config)
  },
)

t.test("a broken operator's file never opens what it may have closed", async (t) => {
  const { operatorFile, workspaceFile, dataDir, compose } = place(
    t,
    'allowlist: { enabled: true, domain: [a.example] }\n',
    'timeouts: { idle: 5m }\n',
  )
  const { composed, messages } = await compose()
  t.equal(composed.inForce, 'deny-all')
  t.strictSame(messages, [
    'operator:1:29: unknown option "allowlist.domain"; did you mean "domains"?',
    "operator: nothing may be reached until this file is mended, since what it allows is not known; the workspace's file is left out",
  ])
  t.strictSame(composed.config.allowlist, { enabled: true, domains: [], ips: [] })

  // The deny-all text was written, and must not pass for the operator's own last word.
  writeFileSync(dataPaths(dataDir).proxyConfig, composed.yaml)
  t.equal((await compose()).composed.inForce, 'deny-all')

  writeFileSync(operatorFile, 'allowlist: { enabled: true, domains: [a.example] }\n')
  const good = (await compose()).composed
  t.equal(good.config.timeouts.idle, 300_000)
  writeFileSync(dataPaths(dataDir).proxyConfig, good.yaml)

  writeFileSync(operatorFile, 'allowlist: {\n')
  writeFileSync(workspaceFile, 'blocklist: { domains: [a.example] }\n')
  for (const start of ['first', 'second']) {
    const kept = await compose()
    t.equal(kept.composed.inForce, 'previous', start)
    t.strictSame(kept.composed.config, good.config, start)
    t.match(kept.messages[1], 'the last good configuration stays in force (DATA/proxy/config.yaml)')
    writeFileSync(dataPaths(dataDir).proxyConfig, kept.composed.yaml)
  }

  writeFileSync(dataPaths(dataDir).proxyConfig, good.yaml.replace('idle: 300000', 'idle: soon'))
  t.equal(
    (await compose()).composed.inForce,
    'deny-all',
    'an earlier text that is no longer valid does not count',
  )
})

t.test("an earlier start without this operator's file says nothing of what it allows", async (t) => {
  const { operatorFile, dataDir, compose } = place(t, 'allowlist: {\n')
  const without = await composeConfig({ dataDir })
  writeFileSync(dataPaths(dataDir).proxyConfig, without.yaml)
  t.equal((await compose()).composed.inForce, 'deny-all')
  t.equal((await composeConfig({ dataDir, operatorFile: `${operatorFile}.absent` })).inForce, 'deny-all')
})

t.test('contradictions with the default are found, and blamed on the file', async (t) => {
  const { compose } = place(t, 'proxy: { port: 17081 }\n')
  t.match((await compose()).messages, [
    'operator:1:16: option "proxy.port": proxy.port and proxy.api_port are both 17081',
  ])
})

t.test('the text written loads again as the same configuration, whatever is in it', async (t) => {
  const { dataDir, compose } = place(
    t,
    `proxy: { port: 0, api_port: 0, host: [localhost, "::1", 172.17.0.1] }
tls: { cert_dir: certs, passthrough: ["*.BANK.example", bücher.example], upstream_ca: [a.pem, /b.pem] }
cache: { max_size: 1.5GB, patterns: ['^/a: #b', '^/"c\\d''', ' ^/x ', 'null', '${'(?:/very/long)'.repeat(20)}'] }
headers:
  "yes": { set: { X-Null: "null", X-Num: "017", X-Colon: "a: b # c", X-Empty: "" } }
  "*.op.example": { append: { X-Long: "${'word '.repeat(100).trim()}" }, conditions: [{ header: X-A, equals: "\${NAME}" }] }
allowlist: { enabled: true, domains: [a.example, b.example], ips: ["fd00::/8", 10.0.0.0/8] }
logging: { file: proxy.log }
`,
    'blocklist: { domains: [a.example] }\nheaders: { c.example: { set: { X-C: "~" } } }\n',
  )
  const { composed, messages } = await compose()
  t.strictSame(messages, [])
  const file = dataPaths(dataDir).proxyConfig
  writeFileSync(file, composed.yaml)
  t.strictSame((await loadConfigFile(file)).config, composed.config)
  t.strictSame(composed.config.allowlist.domains, ['b.example'], 'what is blocked needs not be allowed')
})

t.test('a file in force that could not be read back is not made', async (t) => {
  const flow = (name: string, count: number): string =>
    Array.from({ length: count }, (_, i) => `${name}${i}`).join(',')
  const { workspaceFile, compose } = place(
    t,
    `blocklist: {domains: [${flow('a', 65_000)}]}\n`,
    `blocklist: {domains: [${flow('b', 18_000)}]}\n`,
  )
  const { composed, messages } = await compose()
  t.strictSame(messages, [
    'workspace: with it, the configuration in force would be larger than 1048576 bytes',
  ])
  t.equal(composed.config.blocklist.domains.length, 65_000)
  t.match(readFileSync(workspaceFile, 'utf8'), /b17999/)
})
