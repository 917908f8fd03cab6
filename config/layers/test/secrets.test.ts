import t from 'tap'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { composeConfig } from '../../compose.js'
import { WORKSPACE_CONFIG } from '../config-texts.js'
import { loadConfigFile } from '../load.js'
import { dataPaths } from '../../model/paths.js'
import { ConfigError, formatProblem } from '../../yaml/problem.js'
import { redactConfig } from '../../compose/redact.js'
import { parseTemplate, referencedSecrets } from '../../model/secret-template.js'

/** A secret to start from; what is wrong comes after it, from line 3 on. */
const KEY = 'secrets:\n  KEY: { hosts: [api.example, "*.below.example"] }\n'

/** A file, and all that must be said of it, without the file's name. */
const BAD_FILES: readonly (readonly [string, ...string[]])[] = [
  ['secrets: 5', '1:10: option "secrets": the value is not a mapping of names to secrets'],
  [
    'secrets:\n  KEY: hunter2hunter2',
    '2:8: option "secrets.KEY": the value is not a secret; write hosts, and env or file, below it',
  ],
  ['secrets:\n  KEY: { env: A }', '2:8: option "secrets.KEY.hosts" is missing'],
  [
    'secrets:\n  KEY: { hosts: [] }',
    '2:17: option "secrets.KEY.hosts": the value is empty; name the hosts it may go to',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example:443] }',
    '2:18: option "secrets.KEY.hosts[0]": the value has a port; write the host alone',
  ],
  [
    'secrets:\n  a-b: { hosts: [a.example] }',
    '2:3: option "secrets.a-b": the name is not usable; write letters, digits and "_", as in API_KEY',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example], env: "hunter2 hunter2" }',
    '2:35: option "secrets.KEY.env": the value is not the name of a variable, as in DISCOBOT_SECRET_API_KEY',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example], env: A, file: b }',
    '2:38: option "secrets.KEY.file": the secret has an "env" too; keep one',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example], vault: b }',
    '2:30: unknown option "secrets.KEY.vault"; known here: hosts, env, file, trust_docker, placeholder, placeholder_headers',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example], placeholder: short }',
    '2:43: option "secrets.KEY.placeholder": the value is shorter than 8 characters, so that it could be met by chance',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example], placeholder: "two words" }',
    '2:43: option "secrets.KEY.placeholder": the value holds something other than ASCII letters, digits and signs, or a ":"',
  ],
  [
    'secrets:\n  A: { hosts: [a.example], placeholder: same-same }\n  B: { hosts: [b.example], placeholder: same-same }',
    '3:28: option "secrets.B.placeholder": secret A has the same; which one is meant would not be known',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example], placeholder_headers: [X-A] }',
    '2:30: option "secrets.KEY.placeholder_headers": the secret has no "placeholder"',
  ],
  [
    'secrets:\n  KEY: { hosts: [a.example], placeholder: 12345678a, placeholder_headers: [Host] }',
    '2:76: option "secrets.KEY.placeholder_headers[0]": the value may not be set: it belongs to the connection, not to the request',
  ],
  [
    `${KEY}headers:\n  api.example: { set: { X-A: 'a \${KEI}' } }`,
    '4:30: option "headers.api.example.set.X-A": there is no secret "KEI"; did you mean "KEY"?',
  ],
  [
    "headers:\n  api.example:\n    set:\n      X-A: '${OTHER}'\n    append:\n      X-B: '${OTHER}${MORE}'",
    '4:12: option "headers.api.example.set.X-A": there is no secret "OTHER"; define it under "secrets"',
    '6:12: option "headers.api.example.append.X-B": there is no secret "OTHER"; define it under "secrets"',
    '6:12: option "headers.api.example.append.X-B": there is no secret "MORE"; define it under "secrets"',
  ],
  [
    "headers:\n  api.example: { set: { X-A: '${hunter2 hunter2}' } }",
    '2:30: option "headers.api.example.set.X-A": the value has a "${" that begins no reference; write ${NAME}, or $${ for the characters themselves',
  ],
  [
    "headers:\n  api.example: { set: { X-A: 'hunter2${KEY' } }",
    '2:30: option "headers.api.example.set.X-A": the value has a "${" that begins no reference; write ${NAME}, or $${ for the characters themselves',
  ],
  ...['"*"', '"*.example"', 'other.example', '"api.*"', 'x.api.example', 'below.example'].map(
    (pattern) =>
      [
        `${KEY}headers:\n  ${pattern}:\n    set:\n      X-A: Bearer \${KEY}`,
        `6:12: option "headers.${pattern.replaceAll('"', '')}.set.X-A": the rule reaches hosts to which secret "KEY" may not go; narrow the rule, or widen secrets.KEY.hosts`,
      ] as const,
  ),
]

t.test('a secret that cannot be meant is an error at load, told with its place and no value', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  for (const [text, ...messages] of BAD_FILES) {
    writeFileSync(file, text)
    const problems = await loadConfigFile(file).then(
      () => [],
      (error: unknown) => (error instanceof ConfigError ? error.problems : []),
    )
    const told = problems.map(formatProblem)
    t.strictSame(
      told,
      messages.map((message) => `${file}:${message}`),
      JSON.stringify(text),
    )
    t.notMatch(told.join('\n'), /hunter2/)
  }
})

const GOOD = `
secrets:
  KEY: { hosts: [API.example, '*.below.example'], placeholder: sk-discobot-placeholder }
  NAMED: { hosts: [api.example], env: DISCOBOT_SECRET_NAMED }
  FILED: { hosts: [api.example], file: keys/filed, placeholder: another-one, placeholder_headers: [X-Mine] }
headers:
  api.example:
    set: { Authorization: 'Bearer \${KEY}', X-Both: '\${NAMED}:\${FILED}', X-Literal: '$\${KEY} $$ {}', X-Own: hunter2 }
    conditions: [{ header: X-If, equals: hunter2 }]
  a.b.below.example: { append: { X-A: '\${KEY}' }, insecure: true }
`

t.test('references stay references, also in the file that is written and read back', async (t) => {
  const folder = t.testdir({ 'operator.yaml': GOOD })
  const operatorFile = join(folder, 'operator.yaml')
  const { config, problems, yaml } = await composeConfig({ dataDir: join(folder, 'data'), operatorFile })
  t.strictSame(problems, [])
  t.match(config.secrets, {
    KEY: { hosts: ['api.example', '*.below.example'], env: 'KEY', placeholder: 'sk-discobot-placeholder' },
    NAMED: { hosts: ['api.example'], env: 'DISCOBOT_SECRET_NAMED' },
    FILED: { file: join(folder, 'keys/filed'), placeholder_headers: ['X-Mine'] },
  })
  t.ok(config.secrets['KEY']?.placeholder_headers?.includes('Authorization'))
  t.notOk('env' in (config.secrets['FILED'] ?? {}))
  t.equal(config.headers['api.example']?.insecure, false)
  t.equal(config.headers['a.b.below.example']?.insecure, true)
  const written = join(folder, 'written.yaml')
  writeFileSync(written, yaml)
  t.strictSame((await loadConfigFile(written, { dataDir: join(folder, 'data') })).config, config)
})

t.test('a workspace may neither define nor name secrets, and the rest of its file counts', async (t) => {
  const folder = t.testdir({ 'operator.yaml': GOOD })
  const dataDir = join(folder, 'data')
  const operatorFile = join(folder, 'operator.yaml')
  const workspaceFile = join(folder, 'workspace', WORKSPACE_CONFIG)
  mkdirSync(dirname(workspaceFile), { recursive: true })
  mkdirSync(dataPaths(dataDir).proxyDir, { recursive: true })
  writeFileSync(
    workspaceFile,
    [
      'secrets:',
      '  KEY: { hosts: [evil.example] }',
      '  NAMED: { hosts: [api.example], env: DISCOBOT_SECRET_NAMED }',
      '  MINE: { hosts: [evil.example], env: HOME }',
      'headers:',
      "  evil.example: { set: { X-A: '${KEY}' } }",
      "  own.example: { set: { X-A: '1' }, insecure: true }",
    ].join('\n'),
  )
  const { config, problems } = await composeConfig({ dataDir, operatorFile, workspaceFile })
  const reason = "is refused: only the operator's file may say where secrets come from and go"
  t.strictSame(
    problems.map((problem) => formatProblem(problem).replace(workspaceFile, 'workspace')),
    [
      `workspace:2:3: option "secrets.KEY" ${reason}`,
      `workspace:4:3: option "secrets.MINE" ${reason}`,
      'workspace:6:31: option "headers.evil.example.set.X-A" is refused: a workspace may not name secrets (${…}); this rule is not used',
    ],
  )
  t.strictSame(Object.keys(config.secrets), ['KEY', 'NAMED', 'FILED'])
  t.strictSame(config.secrets['KEY']?.hosts, ['api.example', '*.below.example'])
  t.strictSame(Object.keys(config.headers).sort(), ['a.b.below.example', 'api.example', 'own.example'])
})

t.test('what is shown of a configuration holds no header value and no source of a secret', async (t) => {
  const folder = t.testdir({ 'operator.yaml': GOOD })
  const { config } = await loadConfigFile(join(folder, 'operator.yaml'))
  const shown = redactConfig(config)
  t.notMatch(JSON.stringify(shown), /hunter2|keys\/filed|DISCOBOT_SECRET/)
  t.strictSame(shown.headers['api.example'], {
    set: {
      Authorization: 'Bearer ${KEY}',
      'X-Both': '[redacted]',
      'X-Literal': '[redacted]',
      'X-Own': '[redacted]',
    },
    append: {},
    conditions: [{ header: 'X-If', equals: '[redacted]' }],
    insecure: false,
  })
  t.equal(shown.headers['a.b.below.example']?.append['X-A'], '${KEY}')
  t.match(shown.secrets, {
    KEY: { hosts: ['api.example', '*.below.example'], env: '[redacted]' },
    FILED: { file: '[redacted]', placeholder: 'another-one' },
  })
  t.strictSame(shown.cache, config.cache)
})

t.test('${NAME} is a reference, $${ is how to write the characters, and a lone $ is itself', async (t) => {
  const text = (text: string) => ({ kind: 'text', text })
  const secret = (name: string) => ({ kind: 'secret', name })
  t.strictSame(parseTemplate('Bearer ${A}'), [text('Bearer '), secret('A')])
  t.strictSame(parseTemplate('${A}${_b1}'), [secret('A'), secret('_b1')])
  t.strictSame(parseTemplate('$${A} $ $$ {A} $A'), [text('${A} $ $$ {A} $A')])
  t.strictSame(parseTemplate('$$${A}'), [text('$${A}')])
  t.strictSame(parseTemplate('${A}$${${B}'), [secret('A'), text('${'), secret('B')])
  t.strictSame(parseTemplate(''), [])
  for (const wrong of [
    '${',
    '${}',
    '${A',
    '${1A}',
    '${A B}',
    '${A-B}',
    `\${${'A'.repeat(129)}}`,
    '${${A}}',
  ]) {
    t.type(parseTemplate(wrong), 'string', wrong)
  }
  t.strictSame(referencedSecrets('${A} ${B} ${A} $${C}'), ['A', 'B'])
})
