import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const CHECK = fileURLToPath(new URL('../../../scripts/check-docs.mjs', import.meta.url))

/** What the check says of a project that has these files. */
async function said(folder: string, files: Readonly<Record<string, string>>): Promise<string> {
  for (const name of ['agent', 'base', 'config', 'docs', 'host', 'proxy', 'scripts', 'test'])
    mkdirSync(join(folder, name), { recursive: true })
  for (const [path, text] of Object.entries(files)) writeFileSync(join(folder, path), text)
  try {
    return (await promisify(execFile)(process.execPath, [CHECK, folder])).stdout
  } catch (error) {
    return String((error as { stderr: string }).stderr)
  }
}

t.test('a link, a heading, a path or a table that leads nowhere is named with file and line', async (t) => {
  const found = await said(t.testdir(), {
    'README.md': '# Top\n\n[gone](docs/gone.md)\n[no heading](docs/here.md#lost)\n',
    'docs/here.md': '# Here\n\nSee `proxy/old-place.ts` and agent/moved/.\n\n| a | b |\n| --- |\n| 1 | 2 |\n',
    // In pieces, or the check would find them here.
    'config/one.ts': `${'//'} The rule is in ${'config'}/rules-of-yore.ts.\nexport const path = '${'config'}/not-a-comment.ts'\n`,
  })
  t.match(found, /README\.md:3: links to docs\/gone\.md, which does not exist/)
  t.match(found, /README\.md:4: links to docs\/here\.md#lost, but docs\/here\.md has no such heading/)
  t.match(found, /docs\/here\.md:3: names proxy\/old-place\.ts/)
  t.match(found, /docs\/here\.md:3: names agent\/moved\//)
  t.match(found, /docs\/here\.md:6: a table of 2 columns with a second row of 1/)
  t.match(found, /config\/one\.ts:1: names config\/rules-of-yore\.ts/)
  t.notMatch(found, /not-a-comment/)
})

t.test(
  'what leads somewhere is not named, nor what lies in a data folder or in a block of code',
  async (t) => {
    const found = await said(t.testdir(), {
      'README.md':
        '# A heading: `with` marks\n\n[up](#a-heading-with-marks) [page](docs/here.md#here) [out](https://x.test/#y)\n',
      'docs/here.md':
        '# Here\n\n`proxy/config.yaml`, `proxy/certs/ca.crt`, `docs/here.md`, docs/*.md\n\n```md\n[no](link.md)\n```\n\n| a | `x|y` |\n| --- | --- |\n',
    })
    t.match(found, /all lead somewhere/)
  },
)
