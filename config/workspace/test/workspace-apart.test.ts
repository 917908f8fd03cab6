import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { composeConfig, type Composed } from '../../compose.js'
import { WORKSPACE_CONFIG } from '../../layers/config-texts.js'
import { loadConfigText } from '../../layers/load.js'
import { formatProblem } from '../../yaml/problem.js'

// The promise: what a workspace's file makes be kept is kept apart from what everybody shares, whatever key it uses.

function compose(t: Test, workspace: string, operator = ''): Promise<Composed> {
  const folder = t.testdir({ 'operator.yaml': operator })
  const workspaceFile = join(folder, 'workspace', WORKSPACE_CONFIG)
  mkdirSync(dirname(workspaceFile), { recursive: true })
  writeFileSync(workspaceFile, workspace)
  return composeConfig({
    dataDir: join(folder, 'data'),
    workspaceFile,
    operatorFile: operator === '' ? undefined : join(folder, 'operator.yaml'),
  })
}

const apartOf = async (t: Test, workspace: string, operator?: string) =>
  (await compose(t, workspace, operator)).config.cache.apart

t.test('rules that a workspace makes or changes are its own', async (t) => {
  const own = 'cache: { rules: [{ name: mine, match: { path: ^/x }, ignore_query: true }] }'
  const { by, rules, hosts } = await apartOf(t, own)
  t.match(by, /^[0-9a-f]{32}$/)
  t.strictSame([rules, hosts], [['mine'], []])
  t.equal((await apartOf(t, own)).by, by, 'the same rules, the same entries')
  t.not((await apartOf(t, own.replace('^/x', '^/y'))).by, by)
  for (const change of ['ignore_query: true', 'ttl: upstream', 'max_object: 1KB', 'pass_headers: [X-A]'])
    t.strictSame((await apartOf(t, `cache: { rules: [{ name: npm, ${change} }] }`)).rules, ['npm'], change)
  t.strictSame((await apartOf(t, 'cache: { patterns: [.] }')).rules, ['patterns'])
  const all = await apartOf(t, 'cache: { ttl: 5m }')
  t.ok(
    ['patterns', 'npm', 'cpan'].every((rule) => all.rules.includes(rule)),
    'ttl is that of all rules',
  )
})

t.test('hosts that a workspace adds headers for are its own', async (t) => {
  const { rules, hosts } = await apartOf(
    t,
    'headers: { "*.example.com": { set: { X-Original-URL: /old } }, a.test: { append: { X-B: c } } }',
  )
  t.strictSame([rules, [...hosts].sort()], [[], ['*.example.com', 'a.test']])
})

t.test('what changes nothing, or only who is served, stays shared', async (t) => {
  const operator = 'cache: { rules: [{ name: mine, match: { path: ^/x } }], ttl: 1d }\n'
  const shared = { by: 'operator', rules: [], hosts: [] }
  for (const same of [
    'cache: { rules: [{ name: mine, match: { path: ^/x } }] }',
    'cache: { rules: [{ name: npm, expect: package }] }',
    'cache: { ttl: 7d }',
    'logging: { level: debug }',
  ])
    t.strictSame(await apartOf(t, same, operator), shared, same)
})

t.test('the operator may keep things apart, and a workspace may not say what is shared', async (t) => {
  const operator = 'cache: { apart: { by: team, rules: [npm], hosts: [a.test] } }\n'
  const composed = await compose(
    t,
    'cache: { apart: { rules: [] }, rules: [{ name: go, ttl: 1d }] }',
    operator,
  )
  t.match(
    composed.problems.map(formatProblem).join('\n'),
    /"cache\.apart" is refused: a workspace may not say/,
  )
  const { by, rules, hosts } = composed.config.cache.apart
  t.match(by, /^[0-9a-f]{32}$/)
  t.strictSame([rules, hosts], [['npm', 'go'], ['a.test']])
})

t.test('the text that the proxy reads says so too', async (t) => {
  const composed = await compose(t, 'cache: { rules: [{ name: npm, ignore_query: true }] }')
  const { config } = loadConfigText(composed.yaml, '/.data/proxy/config.yaml')
  t.strictSame(config.cache.apart, composed.config.cache.apart)
})
