import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

// SECURITY.md: a promise names its test, and the test is there.

/** The folder that holds SECURITY.md, above the built code. */
function project(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'SECURITY.md'))) folder = dirname(folder)
  return folder
}

t.test('every promise has a level and a test of that name', (t) => {
  const root = project()
  const text = readFileSync(join(root, 'SECURITY.md'), 'utf8')
  const [, promises = ''] = /^## Promises$(.*?)^## /ms.exec(text) ?? []
  const rows = promises
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^\| (-|promise )/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()))
  t.ok(rows.length > 10, `${rows.length} promises`)
  for (const [, promise = '', level = '', tests = ''] of rows) {
    t.match(level, /^[123](, no Docker)?$/, promise)
    const named = [...tests.matchAll(/`([^`]+\.test\.ts)`: (.+?)(?=; `|$)/g)]
    t.ok(named.length > 0, `a test of: ${promise}`)
    for (const [, file = '', title = ''] of named) {
      const source = existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : ''
      t.ok(source.replaceAll("\\'", "'").includes(title), `${file}: ${title}`)
    }
  }
  t.end()
})
