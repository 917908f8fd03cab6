import t, { type Test } from 'tap'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type * as v from 'valibot'
import { composeConfig } from '../../compose.js'
import { WORKSPACE_CONFIG } from '../../layers/config-texts.js'
import { dataPaths } from '../../model/paths.js'
import { fileSchema } from '../../schema/file.js'
import type { LeafName } from '../../schema/leaves.js'
import { allHave, ruledValues, ruleTree } from '../rule-tree.js'
import { never } from '../workspace-rule.js'
import { WORKSPACE_RULES } from '../workspace-table.js'

// A workspace's file is a stranger's. Each value that it could hold has a rule, and the documentation says which.

/** For each value: a file by which a stranger would decide for others, and what becomes of it. */
const HOSTILE: Readonly<
  Record<LeafName, readonly [text: string, outcome: 'refused' | 'narrows' | 'own session']>
> = {
  'proxy.port': ['proxy: { port: 1 }', 'refused'],
  'proxy.api_port': ['proxy: { api_port: 1 }', 'refused'],
  'proxy.host': ['proxy: { host: [127.0.0.1, 0.0.0.0] }', 'refused'],
  'proxy.auth.user': ['proxy: { auth: { user: mine, password: p } }', 'refused'],
  'proxy.auth.password': ['proxy: { auth: { user: u, password: mine } }', 'refused'],
  'proxy.auth.loopback': ['proxy: { auth: { loopback: exempt } }', 'refused'],
  'tls.cert_dir': ['tls: { cert_dir: /tmp/mine }', 'refused'],
  'tls.passthrough': ["tls: { passthrough: ['*'] }", 'refused'],
  'tls.upstream_ca': ['tls: { upstream_ca: [mine.pem] }', 'refused'],
  'cache.enabled': ['cache: { enabled: false }', 'own session'],
  'cache.dir': ['cache: { dir: DATA/proxy/cache/mine }', 'refused'],
  'cache.max_size': ['cache: { max_size: 1 }', 'refused'],
  'cache.patterns': ["cache: { patterns: ['^/'] }", 'own session'],
  'cache.rules[].name': ['cache: { rules: [{ name: mine, match: { path: / } }] }', 'own session'],
  'cache.rules[].match.host': [
    "cache: { rules: [{ name: a, match: { host: '*', path: / } }] }",
    'own session',
  ],
  'cache.rules[].match.path': ['cache: { rules: [{ name: a, match: { path: / } }] }', 'own session'],
  'cache.rules[].ttl': ['cache: { rules: [{ name: npm, ttl: 1 }] }', 'own session'],
  'cache.rules[].ignore_query': ['cache: { rules: [{ name: npm, ignore_query: true }] }', 'own session'],
  'cache.rules[].verify': ['cache: { rules: [{ name: npm, verify: sha256 }] }', 'own session'],
  'cache.rules[].max_object': ['cache: { rules: [{ name: npm, max_object: 1 }] }', 'own session'],
  'cache.rules[].enabled': ['cache: { rules: [{ name: npm, enabled: false }] }', 'own session'],
  'cache.rules[].expect': ['cache: { rules: [{ name: npm, expect: anything }] }', 'own session'],
  'cache.rules[].no_cache': ['cache: { rules: [{ name: npm, no_cache: ask }] }', 'own session'],
  'cache.rules[].pass_headers': [
    'cache: { rules: [{ name: npm, pass_headers: [X-Api-Key] }] }',
    'own session',
  ],
  'cache.apart.by': ['cache: { apart: { by: other } }', 'refused'],
  'cache.apart.rules': ['cache: { apart: { by: other, rules: [npm] } }', 'refused'],
  'cache.apart.hosts': ["cache: { apart: { by: other, hosts: ['*'] } }", 'refused'],
  'cache.ttl': ['cache: { ttl: 1 }', 'own session'],
  'cache.stale_if_error': ['cache: { stale_if_error: 36500d }', 'own session'],
  'cache.offline': ['cache: { offline: true }', 'own session'],
  'cache.authorization': ['cache: { authorization: revalidate }', 'own session'],
  'cache.fill': ['cache: { fill: readers }', 'own session'],
  'cache.fill_share': ['cache: { fill_share: 1 }', 'own session'],
  'cache.min_free': ['cache: { min_free: 100TB }', 'refused'],
  'cache.memory': ['cache: { memory: 1TB }', 'refused'],
  'headers.*.set.*': ["headers: { '*': { set: { X-A: '${TOKEN}' } } }", 'refused'],
  'headers.*.append.*': ["headers: { '*': { append: { X-A: '${TOKEN}' } } }", 'refused'],
  'headers.*.conditions[].header': [
    "headers: { '*': { conditions: [{ header: X-A, equals: a }] } }",
    'own session',
  ],
  'headers.*.conditions[].equals': [
    "headers: { '*': { conditions: [{ header: X-A, equals: '${TOKEN}' }] } }",
    'refused',
  ],
  'headers.*.insecure': ["headers: { '*': { insecure: true } }", 'own session'],
  'secrets.*.hosts': ["secrets: { TOKEN: { hosts: ['*'] } }", 'refused'],
  'secrets.*.env': ['secrets: { MINE: { hosts: [a.example], env: TOKEN } }', 'refused'],
  'secrets.*.file': ['secrets: { MINE: { hosts: [a.example], file: /etc/shadow } }', 'refused'],
  'secrets.*.trust_docker': ['secrets: { TOKEN: { hosts: [a.example], trust_docker: true } }', 'refused'],
  'secrets.*.placeholder': [
    'secrets: { TOKEN: { hosts: [a.example], placeholder: placeholder } }',
    'refused',
  ],
  'secrets.*.placeholder_headers': [
    'secrets: { TOKEN: { hosts: [a.example], placeholder: placeholder, placeholder_headers: [Origin] } }',
    'refused',
  ],
  'allowlist.enabled': ['allowlist: { enabled: false }', 'refused'],
  'allowlist.domains': ["allowlist: { domains: ['*'] }", 'refused'],
  'allowlist.ips': ['allowlist: { ips: [0.0.0.0/0] }', 'refused'],
  'blocklist.domains': ['blocklist: { domains: [] }', 'narrows'],
  'blocklist.ips': ['blocklist: { ips: [] }', 'narrows'],
  'rules[].name': ['rules: [{ name: mine, action: allow, hosts: [evil.example] }]', 'refused'],
  'rules[].action': ['rules: [{ action: allow, hosts: [evil.example] }]', 'refused'],
  'rules[].hosts': ["rules: [{ action: allow, hosts: ['*'] }]", 'refused'],
  'rules[].methods': ['rules: [{ action: allow, methods: [GET] }]', 'refused'],
  'rules[].paths': ['rules: [{ action: allow, paths: [/*] }]', 'refused'],
  'rules[].ports': ['rules: [{ action: allow, ports: [443] }]', 'refused'],
  'policy.mode': ['policy: { mode: observe }', 'refused'],
  'egress.private': ['egress: { private: allow }', 'refused'],
  'egress.connect_ports': ['egress: { connect_ports: [22] }', 'refused'],
  'egress.allow': ['egress: { allow: [0.0.0.0/0] }', 'refused'],
  'egress.block': ['egress: { block: [] }', 'narrows'],
  'egress.own_ports': ['egress: { own_ports: [3002] }', 'refused'],
  'egress.enforce': ['egress: { enforce: false }', 'refused'],
  'egress.dns': ['egress: { dns: resolve }', 'refused'],
  'upstream_proxy.url': ["upstream_proxy: { url: 'http://evil.example:3128' }", 'refused'],
  'upstream_proxy.no_proxy': ["upstream_proxy: { no_proxy: ['*'] }", 'refused'],
  'upstream_proxy.resolve': ['upstream_proxy: { resolve: remote }', 'refused'],
  'timeouts.connect': ['timeouts: { connect: 24d }', 'refused'],
  'timeouts.headers': ['timeouts: { headers: 24d }', 'refused'],
  'timeouts.idle': ['timeouts: { idle: 24d }', 'refused'],
  'timeouts.keep_alive': ['timeouts: { keep_alive: 24d }', 'refused'],
  'limits.connections': ['limits: { connections: 1000000 }', 'refused'],
  'limits.client_connections': ['limits: { client_connections: 1000000 }', 'refused'],
  'limits.requests': ['limits: { requests: 1000000 }', 'refused'],
  'limits.header_bytes': ['limits: { header_bytes: 1MB }', 'refused'],
  'limits.new_hosts': ['limits: { new_hosts: 1000000 }', 'refused'],
  'limits.client_new_hosts': ['limits: { client_new_hosts: 1000000 }', 'refused'],
  'logging.level': ['logging: { level: error }', 'refused'],
  'logging.format': ['logging: { format: json }', 'refused'],
  'logging.file': ['logging: { file: DATA/proxy/mine.log }', 'refused'],
  locks: ['locks: [logging]', 'refused'],
  end_marker: ['end_marker: true\n...', 'own session'],
}

/** Strict, and silent about all that it need not say. */
const OPERATOR = `allowlist: { enabled: true, domains: [good.example], ips: [10.0.0.0/8] }
blocklist: { domains: [bad.example], ips: [10.1.0.0/16] }
egress: { private: deny, connect_ports: [443], allow: [10.0.0.0/8], block: [10.2.0.0/16], dns: refuse }
secrets: { TOKEN: { hosts: [a.example] } }
`

t.test(
  'each value of the schema, set by a hostile file alone, has the verdict of the documentation',
  async (t) => {
    const names = leavesOf(fileSchema, [])
    t.strictSame([...names].sort(), Object.keys(WORKSPACE_RULES).sort(), 'each value has a rule')
    t.strictSame([...names].sort(), Object.keys(HOSTILE).sort(), 'each value is tried')
    const compose = composer(t)
    const alone = await compose('')
    const lines: string[] = []
    for (const [name, [text, outcome]] of Object.entries(HOSTILE)) {
      const { config, problems } = await compose(text)
      const changed = JSON.stringify(config) !== JSON.stringify(alone.config)
      const refused = problems.some(({ kind }) => kind === 'refused')
      if (outcome === 'own session') t.notOk(refused, name)
      else t.ok(refused || outcome === 'narrows', name)
      // The lists get narrower where nothing of the workspace's is covered by the operator's.
      const isNarrower =
        JSON.stringify(config.allowlist).length < JSON.stringify(alone.config.allowlist).length
      if (outcome !== 'own session') t.ok(!changed || isNarrower, `${name} opens nothing`)
      if (name.startsWith('cache.') && outcome === 'own session') t.ok(changed, name)
      const { verdict, because } = WORKSPACE_RULES[name as LeafName]
      lines.push(`| \`${name}\` | ${verdict} | ${because} | \`${text.replace('\n', ' ')}\`: ${outcome} |`)
    }
    t.comment(lines.join('\n'))
    const documented = documentation()
      .split('\n')
      .map((line) => line.replace(/ +\|/g, ' |').replace(/\| +/g, '| '))
    const missing = lines.filter((line) => !documented.includes(line))
    t.strictSame(missing, [], 'docs/configuration.md has this table')
  },
)

t.test("the tables of keys in the documentation say the same of a workspace's file", async (t) => {
  const lines = documentation().split('\n')
  let column: number | undefined
  let compared = 0
  for (const line of lines) {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim())
    if (cells[1] === 'key')
      column = cells.indexOf('workspace') === -1 ? undefined : cells.indexOf('workspace')
    const [, name] = /^`([a-z_]+\.[a-z_]+)`$/.exec(cells[1] ?? '') ?? []
    if (name === undefined || column === undefined || column < 3) continue
    const rule = Object.entries(WORKSPACE_RULES).find(
      ([leaf]) => leaf === name || leaf.startsWith(`${name}.`) || leaf.startsWith(`${name}[]`),
    )?.[1]
    t.equal(cells[column]?.replaceAll('`', ''), rule?.verdict.replaceAll('`', ''), name)
    compared++
  }
  t.ok(compared > 40, `${compared} compared`)
})

t.test('what comes without a rule is refused, at whatever depth', async (t) => {
  const rule = never('', 'no')
  const tree = ruleTree({ 'a.b': rule, 'c.*.d[].e': rule })
  const without = (value: unknown): unknown[] =>
    [...ruledValues(tree, [], value)].filter(({ rule: found }) => found === undefined).map(({ path }) => path)
  t.strictSame(without({ a: { b: 1 }, c: { x: { d: [{ e: 1 }] } } }), [])
  t.strictSame(without({ a: { new: 1 }, c: { x: { new: 1, d: [{ e: 1 }, { new: { f: 1 } }] } }, new: 2 }), [
    ['a', 'new'],
    ['c', 'x', 'new'],
    ['c', 'x', 'd', 1, 'new'],
    ['new'],
  ])
  t.notOk(allHave('tunes', undefined))
  t.notOk(allHave('tunes', ruleTree({})))
})

function composer(t: Test) {
  const folder = t.testdir()
  const dataDir = join(folder, 'data')
  const operatorFile = join(folder, 'operator.yaml')
  const workspaceFile = join(folder, 'workspace', WORKSPACE_CONFIG)
  mkdirSync(dirname(workspaceFile), { recursive: true })
  mkdirSync(dataPaths(dataDir).proxyDir, { recursive: true })
  writeFileSync(operatorFile, OPERATOR)
  return async (text: string) => {
    writeFileSync(workspaceFile, `${text.replace('DATA', dataDir)}\n`)
    return composeConfig({ dataDir, operatorFile, workspaceFile })
  }
}

function documentation(): string {
  return readFileSync(new URL('../../../../docs/configuration.md', import.meta.url), 'utf8')
}

interface SchemaNode {
  readonly type: string
  readonly pipe?: readonly v.GenericSchema[]
  readonly wrapped?: v.GenericSchema
  readonly entries?: Readonly<Record<string, v.GenericSchema>>
  readonly item?: v.GenericSchema
  readonly value?: v.GenericSchema
  readonly options?: readonly v.GenericSchema[]
}

/** By the schema itself, not by its types: what it checks is what a file can hold. */
function leavesOf(schema: v.GenericSchema, path: readonly string[]): readonly string[] {
  const node = schema as SchemaNode
  const [first] = node.pipe ?? []
  if (first !== undefined && first !== schema) return leavesOf(first, path)
  if (node.wrapped !== undefined) return leavesOf(node.wrapped, path)
  const below = (name: string): string[] => (name === '[]' ? [`${path.join('.')}[]`] : [...path, name])
  switch (node.type) {
    case 'strict_object':
      return Object.entries(node.entries ?? {}).flatMap(([key, part]) => leavesOf(part, below(key)))
    case 'record':
      return node.value === undefined ? [] : leavesOf(node.value, below('*'))
    case 'array': {
      const items = node.item === undefined ? [] : leavesOf(node.item, below('[]'))
      // A list of plain values is one value.
      return items.length === 1 && items[0]?.endsWith('[]') === true ? [path.join('.')] : items
    }
    default:
      return [path.join('.')]
  }
}
