import t, { type Test } from 'tap'
import { SHIPPED_RULES } from '../cache-rules.js'
import { composeConfig } from '../../compose.js'
import { loadConfigFile, loadDefaultConfig } from '../load.js'
import { ConfigError, formatProblem } from '../../yaml/problem.js'

async function load(t: Test, text: string) {
  const folder = t.testdir({ 'proxy.yaml': text })
  return (await loadConfigFile(`${folder}/proxy.yaml`)).config.cache
}

async function complaint(t: Test, text: string): Promise<string> {
  try {
    await load(t, text)
    return 'none'
  } catch (error) {
    return error instanceof ConfigError ? error.message : String(error)
  }
}

t.test('the names of shipped rules are those of default.yaml', async (t) => {
  const { rules } = loadDefaultConfig().config.cache
  t.strictSame(
    rules.map(({ name }) => name),
    SHIPPED_RULES,
  )
  t.ok(rules.every(({ match }) => match !== undefined))
})

t.test('a rule changes the shipped one of its name, key by key; new ones come first', async (t) => {
  const {
    rules,
    ttl,
    stale_if_error: stale,
  } = await load(
    t,
    `cache:
  ttl: 1.5h
  rules:
    - { name: npm, enabled: false, ttl: 7d }
    - { name: mine, match: { host: '*.Example.com', path: ^/x }, max_object: 1MB, ttl: upstream }
`,
  )
  t.equal(ttl, 5_400_000)
  t.equal(stale, 86_400_000)
  const npm = loadDefaultConfig().config.cache.rules[0]
  t.strictSame(rules[0], { ...npm, enabled: false, ttl: 7 * 86_400_000 })
  t.strictSame(rules[1], {
    name: 'mine',
    match: { host: ['*.example.com'], path: '^/x' },
    max_object: 1024 ** 2,
    ttl: 'upstream',
  })
  t.strictSame(
    rules.slice(2).map(({ name }) => name),
    SHIPPED_RULES.slice(1),
  )
})

t.test('what is wrong with a rule is said with its place', async (t) => {
  const wrongs: readonly (readonly [string, string | RegExp])[] = [
    ['rules: [{ name: mine }]', /2:19: option "cache\.rules\[0\]\.name": a rule of your own needs match/],
    [
      'rules: [{ name: npm }, { name: npm }]',
      /2:34: option "cache\.rules\[1\]\.name": the same name is in line 2/,
    ],
    [
      'rules: [{ name: npm, match: { hots: a } }]',
      /unknown option "cache\.rules\[0\]\.match\.hots"; did you mean "host"\?/,
    ],
    ['rules: [{ name: npm, tll: 1d }]', /unknown option "cache\.rules\[0\]\.tll"; did you mean "ttl"\?/],
    ['rules: [{ name: npm, match: {} }]', /option "cache\.rules\[0\]\.match\.path" is missing/],
    ['rules: [{ name: npm, match: { path: "(a+)+" } }]', /repeats a group/],
    ['rules: [{ name: npm, match: { path: a, host: [] } }]', /is empty/],
    ['rules: [{ name: N }]', /is not a name/],
    ['rules: [{ name: patterns, match: { path: a } }]', /is the name of cache\.patterns/],
    ['rules: [{ name: npm, verify: md5 }]', /write sha256 or sha512/],
    ['rules: [[]]', /is a list; write a mapping/],
    ['ttl: 5 days', /value "5 days" is not a time span/],
    ['ttl: Upstream', /value "Upstream" is not a time span; write 90s, 12h, 7d or 2w, or upstream/],
    ['stale_if_error: upstream', /is not a time span; write 90s, 12h, 7d or 2w/],
    ['ttl: -1', /is out of range/],
    ['fill_share: 0', /whole number of percent/],
    ['fill: never', /write always, share or readers/],
    ['authorization: yes', /write trust or revalidate/],
    ['memory: lots', /is not a size/],
  ]
  for (const [text, expected] of wrongs) t.match(await complaint(t, `cache:\n  ${text}\n`), expected, text)
  t.match(await load(t, 'cache: { min_free: 0, memory: 0, ttl: 0 }\n'), { min_free: 0, memory: 0, ttl: 0 })
  t.equal((await load(t, 'cache: { ttl: upstream }\n')).ttl, 'upstream')
})

t.test('a workspace may not take more memory, nor leave less of the disk, than is in force', async (t) => {
  const dataDir = t.testdir({
    'config.yaml': 'cache: { memory: 1GB, min_free: 0, rules: [{ name: npm, ttl: 1d }] }\n',
  })
  const { config, problems } = await composeConfig({ dataDir, workspaceFile: `${dataDir}/config.yaml` })
  t.match(config.cache, { memory: 64 * 1024 ** 2, min_free: 1024 ** 3 })
  t.equal(config.cache.rules.find(({ name }) => name === 'npm')?.ttl, 86_400_000, 'rules it may tune')
  const messages = problems.map(formatProblem).join()
  t.match(messages, /"cache\.memory" is refused: a workspace may only choose less than/)
  t.match(messages, /"cache\.min_free" is refused: the disk and the store are every session's/)
})
