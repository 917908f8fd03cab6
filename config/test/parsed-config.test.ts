import t from 'tap'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { composeConfig } from '../compose.js'
import { loadConfigText, loadDefaultConfig } from '../load.js'
import { describeConfig, digestOfParts, knownDocument, knownOf } from '../parsed-config.js'

const OPERATOR = `cache: { max_size: 50GB }
headers: { "api.example.com": { set: { X-Team: blue } } }
`

// The promise: what is remembered of a configuration says the same as its text, or is not believed.
t.test('a described text loads as the text itself does, with the same places', async (t) => {
  const operatorFile = join(t.testdir({ 'operator.yaml': OPERATOR }), 'operator.yaml')
  const { yaml, config, parts } = await composeConfig({ dataDir: '/.data', operatorFile })
  const description = describeConfig(yaml, digestOfParts(config, parts))
  const document = knownDocument(yaml, description)
  if (document === undefined) throw new Error('not known')
  const parsed = loadConfigText(yaml, 'config.yaml')
  const known = loadConfigText(yaml, 'config.yaml', { document })
  t.strictSame(known.config, parsed.config)
  t.strictSame(known.sources, parsed.sources)
})

t.test('a description of another text, of another version, or that is broken is none', async (t) => {
  const { yaml, config, parts } = await composeConfig({ dataDir: '/.data' })
  const description = describeConfig(yaml, digestOfParts(config, parts)) ?? ''
  t.ok(knownOf(yaml, description))
  for (const [what, text, other] of [
    ['no text', undefined, description],
    ['no description', yaml, undefined],
    ['another text', `${yaml} `, description],
    ['another version', yaml, description.replace('"format":1', '"format":0')],
    ['half of it', yaml, description.slice(0, 100)],
    ['no object', yaml, 'null'],
    ['nothing', yaml, ''],
  ] as const)
    t.equal(knownOf(text, other), undefined, what)
  t.equal(describeConfig(`# ${'x'.repeat(100_000)}\n`, 'made'), undefined, 'a long text is parsed each time')
})

t.test('what a configuration is made of decides whether it is rendered anew', async (t) => {
  const folder = t.testdir({ 'operator.yaml': OPERATOR })
  const operatorFile = join(folder, 'operator.yaml')
  const digest = async (options: { dataDir: string; operatorFile?: string }): Promise<string> => {
    const { config, parts } = await composeConfig(options)
    return digestOfParts(config, parts)
  }
  const before = await digest({ dataDir: '/.data', operatorFile })
  t.equal(await digest({ dataDir: '/.data', operatorFile }), before)
  t.not(await digest({ dataDir: '/other', operatorFile }), before)
  t.not(await digest({ dataDir: '/.data' }), before)
  writeFileSync(operatorFile, OPERATOR.replace('blue', 'red'))
  t.not(await digest({ dataDir: '/.data', operatorFile }), before)
})

t.test('the shipped default needs no text', (t) => {
  t.equal(loadDefaultConfig().config.proxy.port, 17080)
  t.end()
})
