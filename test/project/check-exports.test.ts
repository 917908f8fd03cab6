import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const CHECK = fileURLToPath(new URL('../../../scripts/check-exports.mjs', import.meta.url))

t.test(
  'an export without an importer and a file that nobody needs are named, and nothing else',
  async (t) => {
    const folder = t.testdir()
    for (const room of ['agent', 'base', 'config', 'host', 'proxy', 'test']) mkdirSync(join(folder, room))
    const files = {
      'config/used.ts':
        'export const one = 1\nexport const { two, three: [four] } = { two: 2, three: [4] }\n',
      'config/unused.ts': 'export interface Shape {}\nexport class Nobody {}\nexport const mine = 1\n',
      'config/whole.ts': 'export const any = 1\n',
      'config/late.ts': 'export const later = 1\n',
      'config/forgotten.ts': 'export const x = 1\n',
      'config/child.ts': 'export const y = 1\n',
      'config/main.ts': [
        "import { one as first, two, four } from './used.js'",
        "import type { Shape } from './unused.js'",
        "import * as whole from './whole.js'",
        "void import('./late.js')",
        "const started = new URL('child.js', import.meta.url)",
      ].join('\n'),
      'config/test/one.test.ts': "import { mine } from '../unused.js'\n",
    }
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true })
      writeFileSync(join(folder, path), text)
    }
    const failed = await promisify(execFile)(process.execPath, [CHECK, folder]).catch(
      (error: unknown) => error,
    )
    t.strictSame(
      String((failed as { stderr: string }).stderr)
        .trim()
        .split('\n')
        .sort(),
      [
        'config/forgotten.ts: nothing imports it, and it is no program',
        'config/unused.ts:2: exports Nobody, which no other file imports',
      ],
    )
  },
)
