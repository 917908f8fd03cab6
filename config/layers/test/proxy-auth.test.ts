import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { composeConfig } from '../../compose.js'
import { loadConfigFile } from '../load.js'
import { ConfigError, formatProblem } from '../../yaml/problem.js'
import { redactConfig } from '../../compose/redact.js'

// proxy.auth is the operator's alone, whole or not at all, and shown to nobody.

const LONG = 'x'.repeat(256)

t.test('what cannot be meant is an error that quotes no password', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  const cases: readonly (readonly [text: string, message: string | RegExp])[] = [
    [
      '{ user: a }',
      '1:16: option "proxy.auth": the value has only one of user and password; write both, or {} to ask nobody',
    ],
    [
      '{ password: hunter2 }',
      '1:16: option "proxy.auth": the value has only one of user and password; write both, or {} to ask nobody',
    ],
    [
      '{ user: "a:b", password: hunter2 }',
      '1:24: option "proxy.auth.user": the value holds a ":", which ends a name',
    ],
    [
      '{ user: a, password: "hunter2\\n" }',
      '1:37: option "proxy.auth.password": the value holds a control character',
    ],
    [
      `{ user: a, password: ${LONG} }`,
      '1:37: option "proxy.auth.password": the value is longer than 255 bytes',
    ],
    [
      "{ user: a, password: '${hunter2 x}' }",
      /1:37: option "proxy\.auth\.password": the value has a "\$\{" that begins no reference/,
    ],
    [
      "{ user: a, password: '${NONE}' }",
      '1:37: option "proxy.auth.password": there is no secret "NONE"; define it under "secrets"',
    ],
    [
      '{ user: a, password: hunter2, loopback: yes }',
      /1:56: option "proxy\.auth\.loopback": the value is not required or exempt/,
    ],
    ['{ user: a, pasword: hunter2 }', /unknown option "proxy\.auth\.pasword"; did you mean "password"\?/],
  ]
  for (const [value, message] of cases) {
    writeFileSync(file, `proxy: { auth: ${value} }\n`)
    const problems = await loadConfigFile(file).then(
      () => [],
      (error: unknown) => (error instanceof ConfigError ? error.problems : []),
    )
    const told = problems.map(formatProblem).join('\n')
    t.match(told, message, value)
    t.notMatch(told, /hunter2/)
  }
})

t.test(
  'a secret that goes nowhere may be what clients show, and what is shown of it all is a mask',
  async (t) => {
    const file = join(t.testdir(), 'config.yaml')
    writeFileSync(
      file,
      "proxy: { auth: { user: a, password: 'x${KEY}' } }\nsecrets: { KEY: { hosts: [] } }\n",
    )
    const { config } = await loadConfigFile(file)
    t.strictSame(config.proxy.auth, { user: 'a', password: 'x${KEY}', loopback: 'required' })
    t.strictSame(redactConfig(config).proxy.auth, {
      user: '[redacted]',
      password: '[redacted]',
      loopback: 'required',
    })
    writeFileSync(file, '{}')
    const nobody = { user: '', password: '', loopback: 'required' }
    t.strictSame(redactConfig((await loadConfigFile(file)).config).proxy.auth, nobody)
  },
)

t.test(
  "a workspace may not say who may use the proxy, and the operator's word survives being written",
  async (t) => {
    const dir = t.testdir()
    const [operatorFile, workspaceFile, written] = ['operator', 'workspace', 'written'].map((name) =>
      join(dir, name),
    )
    if (operatorFile === undefined || workspaceFile === undefined || written === undefined) return
    writeFileSync(operatorFile, 'proxy: { auth: { user: a, password: b, loopback: exempt } }\n')
    for (const attempt of ['{}', '{ user: mine, password: mine }']) {
      writeFileSync(workspaceFile, `proxy: { auth: ${attempt} }\n`)
      const { config, problems, yaml } = await composeConfig({ dataDir: dir, operatorFile, workspaceFile })
      t.match(problems.map(formatProblem), [/option "proxy\.auth" is refused: a workspace may not say who/])
      t.strictSame(config.proxy.auth, { user: 'a', password: 'b', loopback: 'exempt' })
      writeFileSync(written, yaml)
      t.strictSame((await loadConfigFile(written, { dataDir: dir })).config.proxy, config.proxy)
    }
  },
)
