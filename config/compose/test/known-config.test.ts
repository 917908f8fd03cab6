import t from 'tap'
import { chmodSync, chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { composeConfig } from '../../compose.js'
import { digestOfTexts, readConfigTexts, WORKSPACE_CONFIG } from '../../layers/config-texts.js'
import { describeConfig, knownOf, mergedOf, readDescription } from '../known-config.js'
import { loadConfigText, loadDefaultConfig } from '../../layers/load.js'

const OPERATOR = `cache: { max_size: 50GB }
headers: { "api.example.com": { set: { X-Team: blue } } }
rules: [{ action: block, hosts: [a.example] }, { action: block, hosts: [b.example] }]
secrets: { KEY: { hosts: [api.example.com] } }
`
const HERE = { release: 'one', file: '/.data/proxy/config.yaml', dataDir: '/.data' }

// The promise: what is remembered of a configuration says the same as its text, or is not believed.
t.test('a known text says what the text itself does, with the same places', async (t) => {
  const operatorFile = join(t.testdir({ 'operator.yaml': OPERATOR }), 'operator.yaml')
  const { yaml } = await composeConfig({ dataDir: '/.data', operatorFile })
  const known = knownOf(yaml, await describeConfig(yaml, 'made', HERE), HERE)
  if (known === undefined) throw new Error('not known')
  t.equal(known.madeOf, 'made')
  const [loaded, remembered] = [loadConfigText(yaml, HERE.file, { dataDir: '/.data' }), mergedOf(known)]
  t.strictSame(remembered.config, loaded.config)
  t.strictSame(remembered.sources, loaded.sources)
  for (const path of [
    ['cache', 'max_size'],
    ['cache', 'patterns', 0],
    ['headers', 'api.example.com'],
    ['headers', 'api.example.com', 'set', 'X-Team'],
    ['rules', 1],
    ['rules', 1, 'hosts', 0],
    ['secrets', 'KEY'],
    ['secrets', 'KEY', 'hosts'],
    ['no', 'such'],
  ])
    t.strictSame(remembered.originsOf(path), loaded.originsOf(path), path.join('.'))
  t.ok(Object.isFrozen(remembered.config.cache.patterns))
})

t.test('what is not known', async (t) => {
  const { yaml } = await composeConfig({ dataDir: '/.data' })
  const description = (await describeConfig(yaml, 'made', HERE)) ?? ''
  t.ok(knownOf(yaml, description, HERE))
  for (const [what, text, other] of [
    ['no text', undefined, description],
    ['no description', yaml, undefined],
    ['another text', `${yaml} `, description],
    ['another format', yaml, description.replace('"format":3', '"format":1')],
    ['half of it', yaml, description.slice(0, 100)],
    ['no object', yaml, 'null'],
    ['nothing', yaml, ''],
  ] as const)
    t.equal(knownOf(text, other, HERE), undefined, what)
  for (const [name, value] of Object.entries({ release: 'two', file: '/other.yaml', dataDir: '/other' }))
    t.equal(knownOf(yaml, description, { ...HERE, [name]: value }), undefined, `another ${name}`)
  const long = `# ${'x'.repeat(100_000)}\n`
  t.equal(await describeConfig(long, 'made', HERE), undefined, 'a long text is read each time')
  await t.rejects(describeConfig('cache: 7', 'made', HERE), { name: 'ConfigError' }, 'no configuration')
})

t.test('only what root or we ourselves have written, and nobody else may change, is believed', async (t) => {
  const file = join(t.testdir({ known: 'text' }), 'known')
  chmodSync(file, 0o640)
  t.equal(await readDescription(file), 'text')
  t.equal(await readDescription(`${file}.not`), undefined)
  for (const mode of [0o660, 0o642]) {
    chmodSync(file, mode)
    t.equal(await readDescription(file), undefined, mode.toString(8))
  }
  chmodSync(file, 0o640)
  if (process.geteuid?.() !== 0) return
  chownSync(file, 4711, 0)
  t.equal(await readDescription(file), undefined, 'of somebody else')
})

t.test('a change of anything that a configuration is made of is another digest', async (t) => {
  const folder = t.testdir({
    'operator.yaml': OPERATOR,
    workspace: { '.discobot': { proxy: { 'config.yaml': '' } } },
  })
  const operatorFile = join(folder, 'operator.yaml')
  const workspaceFile = join(folder, 'workspace', WORKSPACE_CONFIG)
  const digest = async (files: Parameters<typeof readConfigTexts>[0], ...others: unknown[]) =>
    digestOfTexts(await readConfigTexts(files), others)
  const all = { operatorFile, workspaceFile }
  const before = await digest(all, true)
  t.ok(before)
  t.equal(await digest(all, true), before)
  t.not(await digest(all, false), before, 'another setting')
  t.not(await digest({ workspaceFile }, true), before, 'without the operator')
  t.not(await digest({ operatorFile }, true), before, 'without the workspace')
  const absent = await digest({ operatorFile, workspaceFile: join(folder, 'none') }, true)
  t.ok(absent)
  t.not(absent, before, 'the workspace has none')
  writeFileSync(workspaceFile, '# nothing')
  t.not(await digest(all, true), before, 'a comment')
  writeFileSync(operatorFile, Buffer.from([0xff]))
  t.equal(await digest(all, true), undefined, 'what cannot be read may be there the next time')
})

t.test('the shipped default needs no text', (t) => {
  t.equal(loadDefaultConfig().config.proxy.port, 17080)
  t.end()
})
