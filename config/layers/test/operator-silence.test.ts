import t, { type Test } from 'tap'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { composeConfig, type Composed, type ComposeOptions } from '../../compose.js'
import { loadConfigText } from '../load.js'
import { dataPaths } from '../../model/paths.js'
import { ConfigError, formatProblem } from '../../yaml/problem.js'

// An operator's file that says less than was meant must not open what it was to close.

const POLICY = `proxy:
  auth: { user: agents, password: p }
allowlist:
  enabled: true
  domains:
    - good.example
    - '*.good.example'
blocklist:
  domains: [bad.good.example]
rules:
  - { action: block, hosts: [good.example], paths: [/admin/*] }
egress:
  private: deny
  block:
    - 10.0.0.0/8
    - 192.168.0.0/16
`

interface Place {
  readonly dataDir: string
  compose(operator: string, more?: Partial<ComposeOptions>): Promise<Composed>
}

function place(t: Test): Place {
  const folder = t.testdir()
  const dataDir = join(folder, 'data')
  const operatorFile = join(folder, 'operator.yaml')
  mkdirSync(dataPaths(dataDir).proxyDir, { recursive: true })
  return {
    dataDir,
    compose: async (operator, more) => {
      writeFileSync(operatorFile, operator)
      return composeConfig({ dataDir, operatorFile, ...more })
    },
  }
}

t.test('what says nothing is not taken for "everything by default"', async (t) => {
  const { compose } = place(t)
  const silent = [
    '',
    '\n',
    ' ',
    '# only a comment\n',
    '---\n',
    '---\n...\n',
    'null\n',
    '~\n',
    '\ufeff',
    '%YAML 1.2\n---\n',
  ]
  const sections = [
    'proxy',
    'tls',
    'cache',
    'headers',
    'secrets',
    'allowlist',
    'blocklist',
    'rules',
    'policy',
    'egress',
  ]
  const cut = [...sections, 'upstream_proxy', 'timeouts', 'limits', 'logging', 'locks'].map(
    (name) => `${name}:`,
  )
  const below = [
    'allowlist:\n  domains:',
    'proxy:\n  auth:',
    'headers:\n  a.example:',
    'headers:\n  a.example:\n    set:',
  ]
  for (const text of [...silent, ...cut, ...below, 'allowlist: ~\n', 'blocklist:\n  # nobody\n']) {
    const { inForce, config } = await compose(text)
    t.equal(inForce, 'deny-all', JSON.stringify(text))
    t.strictSame(config.allowlist, { enabled: true, domains: [], ips: [] })
    t.throws(() => loadConfigText(text, 'proxy.yaml'), ConfigError, 'the proxy alone does not take it either')
  }
  for (const text of ['{}\n', '# on purpose\n{}', 'allowlist: {}\n', 'headers: {}\nlocks: []\n'])
    t.equal((await compose(text)).inForce, 'composed', JSON.stringify(text))
  const messages = async (text: string) => (await compose(text)).problems.map(({ message }) => message)
  t.match(await messages(''), ['it says nothing; write {} if nothing is meant'])
  t.match(await messages('allowlist:\n'), [
    'option "allowlist" says nothing; write {} if nothing is meant, or remove the key',
  ])
})

t.test('a file with an end marker is used whole, or not at all, wherever it is cut off', async (t) => {
  const { compose } = place(t)
  const text = `end_marker: true\n${POLICY}...\n`
  const whole = await compose(text)
  t.equal(whole.inForce, 'composed')
  for (let length = 0; length < text.length - 1; length++) {
    const { inForce } = await compose(text.slice(0, length))
    if (inForce !== 'deny-all') t.fail(`cut off after ${length} bytes: ${inForce}`)
  }
  t.strictSame((await compose(text.slice(0, -1))).config, whole.config, 'the last line break is not missed')
  t.match((await compose(text.slice(0, text.indexOf('rules:')))).problems.map(formatProblem), [
    /operator\.yaml:1:1: option "end_marker": the file does not end with a line "\.\.\."; it may have been cut off$/,
  ])
  t.equal((await compose('end_marker: false\n...\n')).inForce, 'deny-all')
})

t.test('cut off while it is in force, a file without one changes nothing either', async (t) => {
  const { compose, dataDir } = place(t)
  const whole = await compose(POLICY)
  writeFileSync(dataPaths(dataDir).proxyConfig, whole.yaml)
  for (let length = 0; length < POLICY.length; length += 5) {
    const { config } = await compose(POLICY.slice(0, length), { formerOperator: POLICY })
    if (JSON.stringify(config) !== JSON.stringify(whole.config)) t.fail(`cut off after ${length} bytes`)
  }
  const shorter = POLICY.slice(0, POLICY.indexOf('egress:'))
  t.match(
    (await compose(shorter, { formerOperator: POLICY })).problems[0]?.message,
    /as if it had been cut off/,
  )
  const meant = await compose(`${shorter}...\n`, { formerOperator: POLICY })
  t.equal(meant.inForce, 'composed', 'its end was removed on purpose')
  t.equal(meant.config.egress.private, 'allow')
})

t.test('the text of the configuration in force is itself used whole or not at all', async (t) => {
  const { compose } = place(t)
  const { yaml, config } = await compose(POLICY)
  t.strictSame(loadConfigText(yaml, 'config.yaml').config, config)
  for (let length = 0; length < yaml.length - 1; length += 7)
    t.throws(() => loadConfigText(yaml.slice(0, length), 'config.yaml'), ConfigError, `${length} bytes`)
})

t.test(
  'a workspace may not contradict what is in force, so that the text written could not be read',
  async (t) => {
    const { compose, dataDir } = place(t)
    const workspaceFile = join(dataDir, 'workspace.yaml')
    for (const [operator, workspace] of [
      ['{}', 'cache: { enabled: false, offline: true }\n'],
      ['cache: { enabled: false }\n', 'cache: { offline: true }\n'],
    ] as const) {
      writeFileSync(workspaceFile, workspace)
      const { yaml, config, problems } = await compose(operator, { workspaceFile })
      t.match(problems, [{ file: workspaceFile, message: /the cache is off/ }])
      t.strictSame(loadConfigText(yaml, 'config.yaml').config, config)
      t.equal(config.cache.offline, false)
    }
  },
)
