import { execFile } from 'node:child_process'
import { appendFileSync, cpSync, mkdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

// The walls of the house stand: what is seeded into a copy of the sources here must be found.

/** The sources lie beside dist/, from which this test runs. */
const ROOT = process.cwd()
/** A check reads all sources, so there are two: of the project, and of a copy that has all of this in it. */
const SEEDS: Readonly<Record<string, string>> = {
  'proxy/message/headers.ts': "export { serve } from '../exchange/exchange.js'\n",
  'agent/system/accounts.ts': "export type { Log } from '../logs/log-store.js'\n",
  'config/yaml/problem.ts': "export type Later = import('../compose/render.js').Later\n",
  'base/net/ip-set.ts': "export type { Config } from '../../config/model/config.js'\n",
  'agent/logs/log-ring.ts': "export type { Egress } from '../../proxy/policy/egress.js'\n",
  'proxy/socket/one.ts': "import type { Two } from './two.js'\nexport interface One { readonly two: Two }\n",
  'proxy/socket/two.ts': "import type { One } from './one.js'\nexport interface Two { readonly one: One }\n",
  'proxy/attic/thing.ts': 'export const thing = 1\n',
  'agent/boot/cellar/test/thing.test.ts': 'export const thing = 1\n',
  'agent/loose.ts': 'export const loose = 1\n',
  'base/log/test/leaning.test.ts': "import '../../net/test/ip-set.test.js'\n",
  ...Object.fromEntries(
    Array.from({ length: 26 }, (_, at) => [`config/schema/many-${at}.ts`, 'export {}\n']),
  ),
}
const copy = t.testdir()
for (const folder of ['base', 'config', 'proxy', 'agent', 'test']) {
  cpSync(join(ROOT, folder), join(copy, folder), { recursive: true })
}
for (const [path, text] of Object.entries(SEEDS)) {
  mkdirSync(dirname(join(copy, path)), { recursive: true })
  appendFileSync(join(copy, path), text)
}
rmSync(join(copy, 'agent/isolate'), { recursive: true })

async function check(folder: string): Promise<string> {
  const command = [join(ROOT, 'scripts/check-imports.mjs'), folder]
  try {
    return (await promisify(execFile)(process.execPath, command)).stdout
  } catch (error) {
    return (error as { readonly stderr: string }).stderr
  }
}

t.test('the rooms and their floors are printed, and all is as it should be', async (t) => {
  const said = await check(ROOT)
  t.match(said, /^base +0 +base$/m)
  t.match(said, /^proxy +\d+ .*proxy\/cache\/store/m)
  t.match(said, /^agent +\d+ .*agent\/boot\/steps$/m)
  t.match(said, /as they should be/)
})

t.test('what is seeded is found', async (t) => {
  const said = await check(copy)
  const finds = (name: string, ...parts: readonly RegExp[]): void => {
    for (const part of parts) t.match(said, part, name)
  }
  finds(
    'an import of a higher floor, and one of the same floor, of types as well',
    /headers\.ts:\d+: .*proxy\/message \(floor 0\) .* proxy\/exchange is on floor \d/,
    /accounts\.ts:\d+: .*agent\/system \(floor 1\) .* agent\/logs is on floor 1/,
    /problem\.ts:\d+: .*config\/yaml \(floor 0\) .* config\/compose is on floor 4/,
  )
  finds(
    'an import from one program to another',
    /ip-set\.ts:\d+: .*base may not import config/,
    /log-ring\.ts:\d+: .*agent may not import proxy except proxy\/tls\/authority\.ts/,
  )
  finds(
    'a cycle within a room, of nothing but types',
    /import cycle: proxy\/socket\/one\.ts → proxy\/socket\/two\.ts → proxy\/socket\/one\.ts/,
  )
  finds(
    'a room without a row, and a row without a room',
    /proxy\/attic: proxy\/attic has no row/,
    /agent\/boot\/cellar\/test: agent\/boot\/cellar has no row/,
    /there are no sources in agent\/isolate/,
  )
  finds('a file that lies loose', /agent\/loose\.ts: agent\/ holds what wires its rooms/)
  finds('a room of too many files', /config\/schema: holds \d+ files, more than 25/)
  finds(
    'a test that leans on those of another room',
    /leaning\.test\.ts:1: .*belongs to the tests of base\/net; what tests share is in test\/lab/,
  )
})
