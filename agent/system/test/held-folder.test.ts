/** Root works in folders of others by descriptor: no link of theirs leads it anywhere, and no file has a second name. */
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { caStep } from '../../boot/steps/ca.js'
import { ensureLink } from '../../boot/steps/link.js'
import { configureDockerClient } from '../../docker/client-config.js'
import { silentLogger } from '../../../base/log/logger.js'
import { dataPaths } from '../../../config/model/paths.js'
import { ensureFile, readIfPresent, writeFileAtomically } from '../atomic-file.js'
import { inFolder, inNewFolder } from '../held-folder.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, to give files to another account'
const NOBODY = { uid: 65534, gid: 65534 }
const REFUSED = { code: 'PATH_NOT_FOLLOWED' }

interface Scope {
  teardown(clean: () => void): void
}

interface Place {
  /** Root's, with a file `secret` that nobody else may read. */
  readonly ours: string
  /** Of another account, in a folder of root's. */
  readonly theirs: string
}

function makePlace(t: Scope): Place {
  const base = mkdtempSync(join(tmpdir(), 'discobot-held-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  chmodSync(base, 0o755)
  const ours = join(base, 'ours')
  const theirs = join(base, 'theirs')
  mkdirSync(ours)
  writeFileSync(join(ours, 'secret'), '{"root":"only"}', { mode: 0o600 })
  mkdirSync(theirs)
  chownSync(theirs, NOBODY.uid, NOBODY.gid)
  return { ours, theirs }
}

void t.test('links are followed in folders of ours alone', { skip: NEEDS_ROOT }, async (t) => {
  const { ours, theirs } = makePlace(t)
  symlinkSync('secret', join(ours, 'by-us'))
  symlinkSync(join(ours, 'by-us'), join(ours, 'twice'))
  t.equal(await readIfPresent(join(ours, 'twice')), '{"root":"only"}')
  symlinkSync(ours, join(ours, 'itself'))
  t.equal(await readIfPresent(join(ours, 'itself/itself/secret')), '{"root":"only"}')
  symlinkSync('loop', join(ours, 'loop'))
  await t.rejects(readIfPresent(join(ours, 'loop')), REFUSED)

  symlinkSync(join(ours, 'secret'), join(theirs, 'file'))
  symlinkSync(ours, join(theirs, 'folder'))
  await t.rejects(readIfPresent(join(theirs, 'file')), {
    ...REFUSED,
    message:
      /theirs\/file is a link, and others than root can write to .*theirs; put what it leads to in its place/,
  })
  await t.rejects(readIfPresent(join(theirs, 'folder/secret')), REFUSED)
  await t.rejects(writeFileAtomically(join(theirs, 'folder/new'), 'x', { mode: 0o644 }), REFUSED)
  t.throws(() => inNewFolder(join(theirs, 'folder/a/b'), () => undefined), REFUSED)
  t.strictSame(readdirSync(ours).sort(), ['by-us', 'itself', 'loop', 'secret', 'twice'])

  // As the last name it is what is replaced, and never what is written to.
  await t.rejects(ensureFile(join(theirs, 'file'), 'x', { mode: 0o644 }), REFUSED)
  t.equal(readFileSync(join(ours, 'secret'), 'utf8'), '{"root":"only"}')
  chmodSync(ours, 0o777)
  await t.rejects(readIfPresent(join(ours, 'by-us')), REFUSED, 'a folder that everybody can write to')
})

void t.test('a name stays a name in the folder that is held', { skip: NEEDS_ROOT }, (t) => {
  const { ours, theirs } = makePlace(t)
  inFolder(theirs, (held) => {
    // What its owner can do at any moment: the path leads elsewhere now.
    renameSync(theirs, `${theirs}-moved`)
    symlinkSync(ours, theirs)
    held.write('file', 'x', { mode: 0o600, owner: NOBODY })
    held.make('inner').close()
    held.give(NOBODY)
    t.throws(
      () => held.enter('absent'),
      { code: 'ENOENT', message: /theirs\/absent/ },
      'messages name the path',
    )
  })
  t.strictSame(readdirSync(ours), ['secret'])
  t.strictSame(readdirSync(`${theirs}-moved`).sort(), ['file', 'inner'])
  t.equal(statSync(ours).uid, 0)

  symlinkSync(join(ours, 'secret'), join(`${theirs}-moved`, 'link'))
  linkSync(join(ours, 'secret'), join(`${theirs}-moved`, 'hard'))
  inFolder(`${theirs}-moved`, (held) => {
    t.throws(() => held.enter('link'), { code: 'ENOTDIR' })
    t.throws(() => held.read('link'), { code: 'ELOOP' })
    t.throws(() => held.giveFile('link', NOBODY), REFUSED)
    t.throws(() => held.giveFile('hard', NOBODY), REFUSED, 'a second name of a file of ours')
    t.throws(() => held.read('inner'), REFUSED)
    held.giveAll(NOBODY.uid, { uid: 4711, gid: 4711 })
  })
  t.equal(statSync(join(ours, 'secret')).uid, 0, 'what is not the former owner’s stays whose it is')
  t.equal(lstatSync(join(`${theirs}-moved`, 'file')).uid, 4711)
  t.end()
})

void t.test(
  "the docker client's file is neither read nor written through links",
  { skip: NEEDS_ROOT },
  async (t) => {
    const proxyUrl = 'http://172.17.0.1:17080'
    const plant: Readonly<Record<string, (theirs: string, ours: string) => void>> = {
      'the file is a link': (theirs, ours) => {
        mkdirSync(join(theirs, '.docker'))
        symlinkSync(join(ours, 'secret'), join(theirs, '.docker/config.json'))
      },
      'the folder is a link': (theirs, ours) => symlinkSync(ours, join(theirs, '.docker')),
      'the file is a second name': (theirs, ours) => {
        mkdirSync(join(theirs, '.docker'))
        linkSync(join(ours, 'secret'), join(theirs, '.docker/config.json'))
      },
    }
    for (const [what, prepare] of Object.entries(plant)) {
      const { ours, theirs } = makePlace(t)
      prepare(theirs, ours)
      const path = join(theirs, '.docker', 'config.json')
      for (const url of [proxyUrl, undefined]) {
        const done = configureDockerClient(path, { proxyUrl: url, owner: NOBODY })
        await t.rejects(done, `${what}, ${url ?? 'taken out'}`)
      }
      t.strictSame(readdirSync(ours), ['secret'], what)
      t.match(statSync(join(ours, 'secret')), { uid: 0, mode: 0o100600 }, what)
    }
    const { theirs } = makePlace(t)
    await configureDockerClient(join(theirs, '.docker/config.json'), { proxyUrl, owner: NOBODY })
    t.match(statSync(join(theirs, '.docker')), { uid: NOBODY.uid, mode: 0o40700 })
    t.match(statSync(join(theirs, '.docker/config.json')), { uid: NOBODY.uid, mode: 0o100600 })
  },
)

void t.test('no other step is led elsewhere', { skip: NEEDS_ROOT }, async (t) => {
  const { ours, theirs } = makePlace(t)
  symlinkSync(ours, join(theirs, 'folder'))
  await t.rejects(ensureLink(join(theirs, 'folder/workspace'), '/x'), REFUSED)
  t.notOk(existsSync(join(ours, 'workspace')))

  // The proxy's own folder: what root reads there goes into the trust store, for everybody to read.
  const data = dataPaths(join(ours, 'data'))
  mkdirSync(data.certDir, { recursive: true })
  chownSync(data.certDir, NOBODY.uid, NOBODY.gid)
  symlinkSync(join(ours, 'secret'), data.caCert)
  const owner = { name: 'nobody', home: '/', ...NOBODY }
  const step = caStep({ data, owner: () => Promise.resolve(owner), logger: silentLogger, now: Date.now })
  await t.rejects(step.run(new AbortController().signal), REFUSED)
  t.equal(statSync(join(ours, 'secret')).uid, 0)
  await t.rejects(readIfPresent(data.caCert), REFUSED)
})
