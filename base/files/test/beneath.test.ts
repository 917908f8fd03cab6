import t from 'tap'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readTextFile } from '../text-file.js'

// A file below a folder of somebody else's is read there, or not at all, whatever is turned meanwhile.

const SECRET = 'of somebody else'

t.test('a file is read below its folder, and no link on the way is followed', async (t) => {
  const root = t.testdir({ elsewhere: { a: { file: SECRET }, file: SECRET }, real: { a: { file: 'mine' } } })
  const folder = join(root, 'folder')
  symlinkSync(join(root, 'real'), folder)
  const read = (path: string) => readTextFile(path, { maxBytes: 100, within: folder })
  t.strictSame(await read(join(folder, 'a/file')), { kind: 'text', text: 'mine' }, 'the folder may be a link')
  t.strictSame(await read(join(folder, 'a/absent')), { kind: 'absent' })
  t.strictSame(await read(join(folder, 'absent/file')), { kind: 'absent' })
  symlinkSync(join(root, 'elsewhere'), join(folder, 'linked'))
  symlinkSync(join(root, 'elsewhere/file'), join(folder, 'a/linked'))
  symlinkSync('../../elsewhere/file', join(folder, 'a/relative'))
  symlinkSync('itself', join(folder, 'a/itself'))
  for (const path of [
    'linked/file',
    'linked/a/file',
    'a/linked',
    'a/relative',
    'a/itself',
    '../elsewhere/file',
  ])
    t.match(await read(join(folder, path)), { kind: 'unreadable' }, path)
})

t.test('what is no regular file is not waited for', { timeout: 20_000 }, async (t) => {
  const folder = t.testdir({ folder: {} })
  execFileSync('mkfifo', [join(folder, 'fifo')])
  for (const name of ['fifo', 'folder'])
    for (const within of [{}, { within: folder }])
      t.match(
        await readTextFile(join(folder, name), { maxBytes: 10, ...within }),
        { kind: 'unreadable' },
        name,
      )
})

t.test('a link that is turned all the time leads nowhere else, and no descriptor is left open', async (t) => {
  const root = t.testdir({ elsewhere: { file: SECRET }, folder: {} })
  const folder = join(root, 'folder')
  mkdirSync(join(folder, 'real'))
  writeFileSync(join(folder, 'real/file'), 'mine')
  // Turns the folder on the way into a link and back, as fast as it can.
  const turner = spawn(
    process.execPath,
    [
      '-e',
      `const { renameSync, symlinkSync } = require('node:fs')
      symlinkSync(process.argv[1], 'link')
      console.log('turning')
      for (;;) { renameSync('real', 'kept'); renameSync('link', 'real'); renameSync('real', 'link'); renameSync('kept', 'real') }`,
      join(root, 'elsewhere'),
    ],
    { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = once(turner, 'exit')
  await once(turner.stdout, 'data')
  const open = readdirSync('/proc/self/fd').length
  const kinds = new Set<string>()
  for (let round = 0; round < 20_000; round++) {
    const read = await readTextFile(join(folder, 'real/file'), { maxBytes: 100, within: folder })
    kinds.add(read.kind)
    if (read.kind === 'text' && read.text !== 'mine') t.fail(`read ${read.text}`)
  }
  turner.kill('SIGKILL')
  await ended
  t.ok(kinds.has('unreadable') || kinds.has('absent'), 'it was turned meanwhile')
  t.ok(readdirSync('/proc/self/fd').length <= open)
})
