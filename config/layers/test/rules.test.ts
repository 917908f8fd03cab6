import t, { type Test } from 'tap'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { composeConfig, type Composed } from '../../compose.js'
import { WORKSPACE_CONFIG } from '../config-texts.js'
import { loadConfigFile } from '../load.js'
import { dataPaths } from '../../model/paths.js'
import { ConfigError, formatProblem } from '../../yaml/problem.js'

async function compose(
  t: Test,
  operator: string,
  workspace: string,
): Promise<{ composed: Composed; messages: readonly string[] }> {
  const folder = t.testdir()
  const [operatorFile, workspaceFile] = [join(folder, 'operator.yaml'), join(folder, WORKSPACE_CONFIG)]
  const dataDir = join(folder, 'data')
  mkdirSync(dirname(workspaceFile), { recursive: true })
  mkdirSync(dataPaths(dataDir).proxyDir, { recursive: true })
  writeFileSync(operatorFile, operator)
  writeFileSync(workspaceFile, workspace)
  const composed = await composeConfig({ dataDir, operatorFile, workspaceFile })
  const { proxyConfig } = dataPaths(dataDir)
  writeFileSync(proxyConfig, composed.yaml)
  t.strictSame((await loadConfigFile(proxyConfig)).config, composed.config, 'the text written loads again')
  return {
    composed,
    messages: composed.problems.map((problem) =>
      formatProblem(problem).replaceAll(workspaceFile, 'workspace'),
    ),
  }
}

t.test('what a rule, policy or egress may not say is told with its place', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  const cases: readonly (readonly [string, ...string[]])[] = [
    ['rules: {}', '1:8: option "rules": the mapping is not a list; write [] for an empty one'],
    ['rules: [x]', '1:9: option "rules[0]": value "x" is not a rule; write { action: allow, hosts: [HOST] }'],
    [
      'rules: [[]]',
      '1:9: option "rules[0]": the value is a list; write a mapping, KEY: VALUE',
      '1:9: option "rules[0].action" is missing',
    ],
    ['rules:\n  - hosts: [a.test]', '2:5: option "rules[0].action" is missing'],
    [
      'rules:\n  - action: deny\n    hosts: [a.test]',
      '2:13: option "rules[0].action": value "deny" is not an action; write allow or block',
    ],
    [
      'rules:\n  - action: allow',
      '2:5: option "rules[0]": the mapping would match everything; write hosts, methods, paths or ports',
    ],
    [
      'rules: [{ action: allow, hosts: [] }]',
      '1:33: option "rules[0].hosts": the list is empty; remove the key where anything may match',
    ],
    [
      'rules: [{ action: block, host: [a.test] }]',
      '1:9: option "rules[0]": the mapping would match everything; write hosts, methods, paths or ports',
      '1:26: unknown option "rules[0].host"; did you mean "hosts"?',
    ],
    [
      'rules: [{ action: block, methods: [get, CONNECT] }]',
      '1:36: option "rules[0].methods[0]": value "get" is not a method; write it in capitals: GET',
      '1:41: option "rules[0].methods[1]": value "CONNECT" is no method of a request; use ports to judge tunnels',
    ],
    [
      'rules: [{ action: block, paths: [v2, "^/(a+)+$", "/a?b"] }]',
      '1:34: option "rules[0].paths[0]": value "v2" is not a path; write /v2/* (* is any text), or a regular expression that begins with ^',
      '1:38: option "rules[0].paths[1]": value "^/(a+)+$" repeats a group that itself repeats or branches, or refers back to one, which can take for ever; write it without nesting',
      '1:50: option "rules[0].paths[2]": value "/a?b" holds a query or fragment; rules judge the path alone',
    ],
    [
      'rules: [{ action: block, ports: [0] }]',
      '1:34: option "rules[0].ports[0]": value 0 is not a port; write a whole number from 1 to 65535',
    ],
    [
      'policy: { mode: off }',
      '1:17: option "policy.mode": value "off" is not a mode; write enforce or observe',
    ],
    ['egress: { private: no }', '1:20: option "egress.private": value "no" is not allow or deny'],
    [
      'egress: { block: [a.test] }',
      '1:19: option "egress.block[0]": value "a.test" is not an address or CIDR block; write 10.0.0.1, 10.0.0.0/8 or fd00::/8',
    ],
    [
      `rules: [${'{ action: block, ports: [1] },'.repeat(257)}]`,
      '1:8: option "rules": the list has more than 256 rules, with which every request would be compared',
    ],
  ]
  for (const [text, ...messages] of cases) {
    writeFileSync(file, text)
    const error: unknown = await loadConfigFile(file).catch((thrown: unknown) => thrown)
    if (!(error instanceof ConfigError)) t.fail(text)
    else
      t.strictSame(
        error.problems.map((one) => formatProblem(one).replace(`${file}:`, '')),
        messages,
        text.slice(0, 80),
      )
  }
})

t.test('each item of a list is known by its own place', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  writeFileSync(
    file,
    'blocklist:\n  domains:\n    - a.test\n    - b.test\nrules:\n  - action: block\n    ports: [25]\n',
  )
  const { originsOf, config } = await loadConfigFile(file)
  t.match(originsOf(['blocklist', 'domains', 1]), [{ file, line: 4, col: 7 }])
  t.match(originsOf(['rules', 0]), [{ file, line: 6, col: 5 }])
  t.match(originsOf(['cache', 'patterns', 1]), [{ layer: 'default' }])
  t.strictSame(originsOf(['nothing', 'there']), [])
  t.strictSame(config.rules, [{ action: 'block', ports: [25] }])
})

t.test('a workspace may block more, and allow only in an allowlist of its own', async (t) => {
  const rules = `rules:
  - { action: block, hosts: [w.test], methods: [POST] }
  - { action: allow, hosts: [w.test] }
`
  const block = { action: 'block', hosts: ['w.test'], methods: ['POST'] } as const
  const allow = { action: 'allow', hosts: ['w.test'] } as const
  const operators = { action: 'allow', hosts: ['o.test'] } as const
  const reason =
    'workspace:3:5: option "rules[1]" is refused: a workspace may add rules that allow only to an allowlist that it enables itself'

  const narrowed = await compose(
    t,
    'allowlist: { enabled: true }\nrules: [{ action: allow, hosts: [o.test] }]',
    rules,
  )
  t.strictSame(narrowed.messages, [reason])
  t.strictSame(narrowed.composed.config.rules, [operators, block])

  const dormant = await compose(t, '{}\n', rules)
  t.strictSame(dormant.messages, [reason], 'also while no allowlist is enabled: one may be, later')
  t.strictSame(dormant.composed.config.rules, [block])

  const own = await compose(t, '{}\n', `${rules}allowlist: { enabled: true }\n`)
  t.strictSame(own.messages, [])
  t.strictSame(own.composed.config.rules, [block, allow])

  const locked = await compose(t, 'locks: [rules]', rules)
  t.strictSame(locked.messages, ['workspace:2:3: option "rules" is refused: the operator has locked it'])
  t.strictSame(locked.composed.config.rules, [])

  const again = await compose(
    t,
    'rules: [{ action: allow, hosts: [O.test] }]',
    'rules: [{ hosts: [o.test], action: allow }]',
  )
  t.strictSame(again.messages, [], 'what is in force may be said again')
  t.strictSame(again.composed.config.rules, [operators])

  const one = '{ action: block, ports: [1] }'
  const full = await compose(
    t,
    `rules: [${Array(255).fill(one).join(',')}]`,
    'rules: [{ action: block, ports: [2] }, { action: block, ports: [3] }]',
  )
  t.match(full.messages, [/rules\[1\]" is refused: .* more than 256 rules/])
  t.equal(full.composed.config.rules.length, 256)
})

t.test('a workspace may only narrow policy and egress', async (t) => {
  const wide = await compose(
    t,
    'egress: { private: deny, connect_ports: [443, 8443], allow: [10.0.0.0/8], block: [10.1.0.0/16] }',
    'policy: { mode: observe }\negress: { private: allow, connect_ports: [22, 443], allow: [10.2.0.0/16, 0.0.0.0/0], block: [10.2.3.0/24] }',
  )
  t.strictSame(wide.messages, [
    'workspace:1:17: option "policy.mode" is refused: the operator has lists and rules enforced',
    'workspace:2:20: option "egress.private" is refused: the operator denies private addresses',
    'workspace:2:43: option "egress.connect_ports[0]" is refused: "22" is not covered by the operator\'s egress.connect_ports',
    'workspace:2:74: option "egress.allow[1]" is refused: "0.0.0.0/0" is not covered by the operator\'s egress.allow',
  ])
  t.match(wide.composed.config, {
    policy: { mode: 'enforce' },
    egress: {
      private: 'deny',
      connect_ports: [443],
      allow: ['10.2.0.0/16'],
      block: ['10.1.0.0/16', '10.2.3.0/24'],
    },
  })

  const emptied = await compose(
    t,
    'egress: { connect_ports: [443], allow: [10.0.0.0/8] }',
    'egress: { connect_ports: [22], allow: [11.0.0.0/8] }',
  )
  t.match(
    emptied.composed.config.egress,
    { connect_ports: [443], allow: ['10.0.0.0/8'] },
    'never left empty, which is any',
  )

  const cleared = await compose(
    t,
    'egress: { connect_ports: [443], allow: [10.0.0.0/8], block: [10.1.0.0/16] }',
    'egress: { connect_ports: [], allow: [], block: [] }\nrules: []',
  )
  t.match(cleared.composed.config.egress, {
    connect_ports: [443],
    allow: ['10.0.0.0/8'],
    block: ['10.1.0.0/16'],
  })

  const stricter = await compose(
    t,
    'policy: { mode: observe }',
    'policy: { mode: enforce }\negress: { private: deny, connect_ports: [443], allow: [10.0.0.0/8] }',
  )
  t.strictSame(stricter.messages, [])
  t.match(stricter.composed.config, {
    policy: { mode: 'enforce' },
    egress: { private: 'deny', connect_ports: [443], allow: ['10.0.0.0/8'] },
  })
})
