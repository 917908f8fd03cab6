import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

/** The sources lie beside dist/, from which this test runs. */
const ROOT = process.cwd()

t.test('every error code is in docs/errors.md, and every code there exists', async (t) => {
  const sources = ['base', 'config', 'proxy', 'agent'].flatMap((room) =>
    readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !/(^|\/)test\//.test(path))
      .map((path) => readFileSync(join(ROOT, room, path), 'utf8')),
  )
  const inCode = new Set(
    sources.flatMap((text) => [...text.matchAll(/readonly code = '([A-Z0-9_]+)'/g)].map((match) => match[1])),
  )
  const page = readFileSync(join(ROOT, 'docs', 'errors.md'), 'utf8')
  const inDocs = new Set([...page.matchAll(/^\| `([A-Z0-9_]+)` +\|/gm)].map((match) => match[1]))
  t.strictSame([...inDocs].sort(), [...inCode].sort())
  t.ok(inCode.size > 20)
})
