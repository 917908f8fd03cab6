import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t, { type Test } from 'tap'

// `discobot-proxy explain` as a process. Names that are resolved are localhost or addresses.

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))

const CONFIG = `# line 1
proxy: { port: 17080 }
tls: { passthrough: [pinned.test, localhost] }
cache:
  patterns:
    - '^/v2/.*/blobs/sha256:.*'
    - '\\.tgz$'
headers:
  127.0.0.1:
    set: { Authorization: Bearer s3cret }
    append: { X-Team: s3cret }
    conditions: [{ header: X-Env, equals: s3cret }]
allowlist:
  enabled: true
  domains:
    - other.test
    - 127.0.0.1
blocklist:
  domains: ["*.bad.test"]
  ips:
    - 192.0.2.0/24
rules:
  - { name: pulls, action: allow, hosts: [localhost], methods: [GET], paths: [/v2/*] }
  - { action: block, hosts: [127.0.0.1], methods: [DELETE] }
egress: { connect_ports: [443] }
`

interface Explained {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number | undefined
}

async function explain(
  t: Test,
  text: string,
  ...args: string[]
): Promise<Explained & { readonly file: string }> {
  const file = join(t.testdir(), 'proxy.yaml')
  writeFileSync(file, text)
  const result = await execa(process.execPath, [MAIN, 'explain', ...args, '--config', file], {
    reject: false,
    stripFinalNewline: false,
    extendEnv: false,
    env: { PATH: process.env['PATH'] },
  })
  const { stdout, stderr, exitCode } = result
  return { stdout, stderr, exitCode, file }
}

t.test('a blocked request exits with 3 and names the rule with its line', async (t) => {
  const cases: readonly [args: readonly [string, string], ...RegExp[]][] = [
    [
      ['GET', 'https://x.bad.test/'],
      /blocked: blocklist\.domains has "\*\.bad\.test"/,
      /by +blocklist\.domains\[0\] at FILE:19:13/,
    ],
    [['DELETE', 'https://127.1/a'], /DELETE https:\/\/127\.0\.0\.1:443\/a/, /by +rules\[1\] at FILE:24:5/],
    [['GET', 'http://192.0.2.1/'], /it is not in allowlist\.domains/, /by +allowlist\.enabled at FILE:14:12/],
    [['GET', 'https://other.test:8443/'], /port 8443 is not in egress\.connect_ports/, /at FILE:25:26/],
    [
      ['POST', 'http://localhost/v2/x'],
      /rules\[0\] \(pulls\) allows it only for GET/,
      /rules\[0\] \(pulls\) at FILE:23:5/,
    ],
    [['GET', 'https://localhost/v2/x'], /bytes that nobody can judge/, /rules\[0\] \(pulls\)/],
    [['GET', 'http://127.0.0.1:17080/'], /is this proxy itself/, /by +built in\n/],
  ]
  for (const [args, ...patterns] of cases) {
    const { stdout, stderr, exitCode, file } = await explain(t, CONFIG, ...args)
    t.equal(exitCode, 3, `${args.join(' ')} ${stderr}`)
    for (const pattern of patterns) t.match(stdout.replaceAll(file, 'FILE'), pattern)
    t.notMatch(stdout, /cache/)
  }
})

t.test('an allowed request exits with 0 and tells what would be dialled, injected and cached', async (t) => {
  const url = 'https://127.0.0.1/a.tgz?v=1'
  const { stdout, exitCode, file } = await explain(t, CONFIG, 'GET', url)
  t.equal(exitCode, 0)
  t.equal(
    stdout.replaceAll(file, 'FILE'),
    `GET https://127.0.0.1:443/a.tgz?v=1
  decision    allowed
  by          allowlist.domains[1] at FILE:17:7
  TLS         opened here, and made anew to upstream
  dials       127.0.0.1
  headers     headers.127.0.0.1 at FILE:9:3
  sets        Authorization: (redacted)
  appends to  X-Team: (redacted)
  only if     X-Env: (redacted) is sent
  cache       kept if upstream allows it, by cache.patterns[1] at FILE:7:7 \\.tgz$
  cache key   GET https://127.0.0.1:443/a.tgz?v=1
`,
  )
  const plain = await explain(t, CONFIG, 'GET', 'http://127.0.0.1/')
  t.match(plain.stdout, /headers +headers\.127\.0\.0\.1.*\n +withheld +plain http/)
  const named = await explain(t, CONFIG, 'get', 'http://localhost/v2/x/blobs/sha256:' + 'a'.repeat(64))
  t.equal(named.exitCode, 0)
  t.match(named.stdout, /rules\[0\] \(pulls\)[\s\S]*plain HTTP[\s\S]*dials +(127\.0\.0\.1|::1)/)
  t.match(named.stdout, new RegExp(`cache key +blob sha256:${'a'.repeat(64)}`))
})

t.test('--json says the same for machines, without any header value', async (t) => {
  const { stdout, exitCode, file } = await explain(t, CONFIG, '--json', 'POST', 'https://127.0.0.1/a.tgz')
  t.equal(exitCode, 0)
  t.notMatch(stdout, /s3cret/)
  t.strictSame(JSON.parse(stdout), {
    method: 'POST',
    url: 'https://127.0.0.1:443/a.tgz',
    mode: 'enforce',
    connection: 'intercept',
    way: 'direct',
    cache: { cached: false, why: 'POST is never cached' },
    headers: {
      option: 'headers.127.0.0.1',
      at: `${file}:9:3`,
      set: ['Authorization'],
      append: ['X-Team'],
      conditions: ['X-Env'],
    },
    decision: 'allow',
    by: { option: 'allowlist.domains[1]', at: `${file}:17:7` },
    addresses: [{ address: '127.0.0.1', dial: true }],
  })
})

t.test('observe is allowed, with what enforce would say', async (t) => {
  const { stdout, exitCode } = await explain(
    t,
    `policy: { mode: observe }\nblocklist: { ips: [127.0.0.0/8] }\n`,
    'GET',
    'http://127.0.0.1/',
  )
  t.equal(exitCode, 0)
  t.match(
    stdout,
    /mode +observe[\s\S]*would block +blocklist\.ips has 127\.0\.0\.1, by blocklist\.ips\[0\] at .*:2:20\n/,
  )
})

t.test('wrong usage exits with 2 and shows how; a file that cannot be used with 1', async (t) => {
  for (const args of [
    [],
    ['GET'],
    ['GET', 'example.com'],
    ['GET', 'ftp://example.com/'],
    ['GET', 'http://exa mple.com/'],
    ['GET', 'http://user:pw@example.com/'],
    ['NOPE', 'http://example.com/'],
    ['CONNECT', 'http://example.com/'],
    ['GET', 'http://a.test/', 'more'],
    ['GET', 'http://a.test/', '--what'],
  ]) {
    const { stderr, stdout, exitCode } = await explain(t, '', ...args)
    t.equal(exitCode, 2, args.join(' '))
    t.match(stderr, /^discobot-proxy: .+\n\nUsage: discobot-proxy explain METHOD URL/)
    t.equal(stdout, '')
  }
  const broken = await explain(t, 'cache: { sise: 1 }', 'GET', 'http://127.0.0.1/')
  t.equal(broken.exitCode, 1)
  t.match(broken.stderr, /proxy\.yaml:1:10: unknown option/)
})
