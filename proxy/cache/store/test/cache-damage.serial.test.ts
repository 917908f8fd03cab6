import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { cacheDirectory } from './cache-directory.js'
import { until } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'
import { proxiedGet, wrongWith } from '../../../../test/lab/proxied-get.js'
import { folder, json, start, type Program } from '../../../../test/lab/program.js'
import { seeded } from '../../../../test/lab/seeded.js'

// The promise: whatever becomes of the files of the cache, while the proxy runs or between two runs, its clients
// get every byte as upstream has it, and the log says what is wrong, once.

const KIB = 1024
/** A line for each request would be as good as none. */
const DROPPED = /cache entry dropped/g

/** Without memory, so that every answer is one of the files. */
const CONFIG = { cache: { min_free: 0, memory: 0 } }

interface Stored {
  readonly url: string
  readonly bytes: Buffer
  /** Path of the entry's body. */
  readonly body: string
  readonly meta: string
}

function stored(origin: MisbehavingOrigin, cacheDir: string, bytes: Buffer): Stored {
  const path = origin.add(bytes)
  const name = createHash('sha256')
    .update(`blob sha256:${path.slice(-64)}`)
    .digest('hex')
  const body = join(cacheDir, name)
  return { url: `http://127.0.0.1:${origin.port}${path}`, bytes, body, meta: `${body}.meta` }
}

async function ask(t: Test, program: Program, { url, bytes }: Stored, what: string): Promise<unknown> {
  const answer = await proxiedGet(program.port, url)
  t.equal(wrongWith(bytes, 'GET', answer), undefined, `${what}: no wrong byte`)
  t.ok(answer.complete, `${what}: a whole answer`)
  return answer.headers['x-cache']
}

/** Has all of them stored. */
async function fill(t: Test, program: Program, all: readonly Stored[]): Promise<void> {
  for (const one of all) await ask(t, program, one, 'at first')
  await until(() => all.every(({ meta }) => existsSync(meta)))
}

function flip(path: string, at: number): void {
  const file = openSync(path, 'r+')
  const bytes = readFileSync(path)
  writeSync(file, Buffer.from([(bytes[at] ?? 0) ^ 1]), 0, 1, at)
  closeSync(file)
}

/** Puts something else where `path` is. */
function replace(path: string, make: (path: string) => void): void {
  rmSync(path)
  make(path)
}

const mkfifo = (path: string): void => void execFileSync('mkfifo', [path])

function swap(one: string, other: string): void {
  renameSync(one, `${one}.aside`)
  renameSync(other, one)
  renameSync(`${one}.aside`, other)
}

type Damage = (entry: Stored, other: Stored) => void

/** What can be mended by fetching anew. */
const DAMAGES: Readonly<Record<string, Damage>> = {
  'a flipped bit': ({ body }) => flip(body, 70_000),
  'a body cut short': ({ body }) => truncateSync(body, 1000),
  'a body made longer': ({ body }) => truncateSync(body, 200 * KIB),
  'a body emptied': ({ body }) => truncateSync(body, 0),
  'a body gone': ({ body }) => rmSync(body),
  'bodies swapped': ({ body }, other) => swap(body, other.body),
  'metas swapped': ({ meta }, other) => swap(meta, other.meta),
  'a body that is a link to another': ({ body }, other) =>
    replace(body, (path) => symlinkSync(other.body, path)),
  'a body that is a pipe': ({ body }) => replace(body, mkfifo),
  'a meta gone': ({ meta }) => rmSync(meta),
  'a meta of garbage': ({ meta }) => writeFileSync(meta, 'garbage'),
  'an empty meta': ({ meta }) => truncateSync(meta, 0),
  'half a meta': ({ meta }) => truncateSync(meta, 100),
  'a huge meta': ({ meta }) => truncateSync(meta, 2 ** 33),
  'a meta that is a link to its own': ({ meta }) => {
    renameSync(meta, `${meta}.aside`)
    symlinkSync(`${meta}.aside`, meta)
  },
  'a meta that is a pipe': ({ meta }) => replace(meta, mkfifo),
}

/** What stays in the way. */
const OBSTACLES: Readonly<Record<string, Damage>> = {
  'a body that is a folder': ({ body }) => replace(body, (path) => mkdirSync(path)),
  'a meta that is a folder': ({ meta }) =>
    replace(meta, (path) => mkdirSync(join(path, 'full'), { recursive: true })),
}

t.test('damaged and planted files', async (t) => {
  const random = seeded(1)
  const origin = await MisbehavingOrigin.start(t)
  for (const when of ['while it runs', 'between two runs', 'after a kill'] as const) {
    const dir = folder(t)
    const cacheDir = join(dir, 'proxy', 'cache')
    let program = await start(t, dir, CONFIG)
    const cases = Object.entries({ ...DAMAGES, ...OBSTACLES }).map(([what, damage]) => ({
      what,
      damage,
      entry: stored(origin, cacheDir, random.bytes(100 * KIB)),
      other: stored(origin, cacheDir, random.bytes(100 * KIB)),
    }))
    await fill(
      t,
      program,
      cases.flatMap(({ entry, other }) => [entry, other]),
    )
    if (when !== 'while it runs') {
      program.process.kill(when === 'after a kill' ? 'SIGKILL' : 'SIGTERM')
      await program.ended()
    }
    for (const { damage, entry, other } of cases) damage(entry, other)
    if (when !== 'while it runs') program = await start(t, dir, CONFIG)
    for (const { what, entry, other } of cases) {
      for (let round = 0; round < 2; round += 1) {
        await ask(t, program, entry, `${what}, ${when}`)
        await ask(t, program, other, `${what}, the other one, ${when}`)
      }
    }
    for (const { what, entry } of cases) {
      if (what in OBSTACLES) continue
      await until(async () => (await ask(t, program, entry, what)) === 'HIT')
    }
    t.ok((program.log().match(DROPPED) ?? []).length <= 1, `said once, ${when}`)
    t.notMatch(program.log(), /uncaught|unhandled/i)
    program.process.kill('SIGTERM')
    t.equal(await program.ended(), 0, when)
  }
})

t.test('a lock that is a pipe, a link or nonsense keeps nobody waiting', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  for (const [what, make] of Object.entries({
    'a pipe': mkfifo,
    'a link to nowhere': (path: string) => symlinkSync('nowhere', path),
    'a link to a pipe': (path: string) => {
      mkfifo(`${path}.pipe`)
      symlinkSync(`${path}.pipe`, path)
    },
    huge: (path: string) => {
      writeFileSync(path, '')
      truncateSync(path, 2 ** 33)
    },
  })) {
    const dir = folder(t)
    const cacheDir = join(dir, 'proxy', 'cache')
    mkdirSync(cacheDir, { recursive: true })
    make(join(cacheDir, 'lock'))
    const program = await start(t, dir, CONFIG)
    const entry = stored(origin, cacheDir, Buffer.from(what))
    t.equal(await ask(t, program, entry, what), 'MISS')
    program.process.kill('SIGTERM')
    t.equal(await program.ended(), 0, what)
  }
})

t.test('a directory that vanishes costs the cache and no traffic, and comes back', async (t) => {
  const random = seeded(2)
  const origin = await MisbehavingOrigin.start(t)
  const dir = folder(t)
  const cacheDir = join(dir, 'proxy', 'cache')
  const program = await start(t, dir, CONFIG)
  const [first, second, third, slow] = [1, 2, 3, 4].map(() =>
    stored(origin, cacheDir, random.bytes(300 * KIB)),
  )
  if (first === undefined || second === undefined || third === undefined || slow === undefined) return
  await fill(t, program, [first])
  const dripping = proxiedGet(program.port, `${slow.url}?drip`)
  await until(() => cacheDirectory(cacheDir).strays.length === 1)
  rmSync(cacheDir, { recursive: true })
  for (const entry of [first, second, first]) await ask(t, program, entry, 'without a folder')
  t.equal(wrongWith(slow.bytes, 'GET', await dripping), undefined, 'what was on its way arrives')
  t.equal(program.log().match(/traffic goes on uncached/g)?.length, 1)
  mkdirSync(cacheDir)
  await fill(t, program, [second, third])
  t.equal(await ask(t, program, third, 'with a new folder'), 'HIT')
  await until(async () => {
    const { current_size: size } = await json(`http://127.0.0.1:${program.apiPort}/api/cache/stats`)
    return size === cacheDirectory(cacheDir).bytes
  })
  rmSync(cacheDir, { recursive: true })
  writeFileSync(cacheDir, 'a file')
  await ask(t, program, third, 'a file in its place')
  program.process.kill('SIGTERM')
  t.equal(await program.ended(), 0)
})

/** Root, but subject to the modes of files as everybody else is. */
const LIKE_ANYBODY = [
  'setpriv',
  '--inh-caps=-dac_override,-dac_read_search',
  '--bounding-set=-dac_override,-dac_read_search',
]
const needsRoot =
  process.getuid?.() === 0 ? false : 'NOT TESTED HERE: file modes and mounts are changed by root'

t.test('files and folders that may not be read or written', { skip: needsRoot }, async (t) => {
  const random = seeded(3)
  const origin = await MisbehavingOrigin.start(t)
  const dir = folder(t)
  const cacheDir = join(dir, 'proxy', 'cache')
  const program = await start(t, dir, CONFIG, LIKE_ANYBODY)
  const all = Array.from({ length: 4 }, () => stored(origin, cacheDir, random.bytes(100 * KIB)))
  const [unreadable, secret, kept, late] = all
  if (unreadable === undefined || secret === undefined || kept === undefined || late === undefined) return
  await fill(t, program, [unreadable, secret, kept])
  chmodSync(unreadable.body, 0)
  chmodSync(secret.meta, 0)
  for (const entry of [unreadable, secret]) {
    t.equal(await ask(t, program, entry, 'mode 000'), 'MISS')
    await until(async () => (await ask(t, program, entry, 'made anew')) === 'HIT')
  }
  chmodSync(cacheDir, 0o500)
  t.equal(await ask(t, program, kept, 'a folder that may not be written'), 'HIT')
  for (let round = 0; round < 3; round += 1) await ask(t, program, late, 'not kept')
  chmodSync(cacheDir, 0)
  for (const entry of all) await ask(t, program, entry, 'a folder that may not be looked into')
  t.equal(program.log().match(/traffic goes on uncached/g)?.length, 1)
  t.ok((program.log().match(DROPPED) ?? []).length <= 1)
  chmodSync(cacheDir, 0o700)
  await fill(t, program, all)
  t.equal(await ask(t, program, late, 'as before'), 'HIT')
  program.process.kill('SIGTERM')
  t.equal(await program.ended(), 0)

  chmodSync(cacheDir, 0o500)
  const uncached = await start(t, dir, CONFIG, LIKE_ANYBODY)
  t.match(uncached.log(), /cache is off: its directory cannot be used.*EACCES/)
  t.equal(await ask(t, uncached, kept, 'without a cache'), undefined)
})

t.test('a disk that is full, or becomes read-only', { skip: needsRoot }, async (t) => {
  const random = seeded(4)
  const origin = await MisbehavingOrigin.start(t)
  const dir = folder(t)
  const cacheDir = join(dir, 'proxy', 'cache')
  mkdirSync(cacheDir, { recursive: true })
  // In a mount namespace of the proxy's own: it goes when the proxy does.
  const mount = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
  const program = await start(t, dir, CONFIG, ['unshare', '--mount', 'sh', '-c', mount, cacheDir])
  const seen = `/proc/${program.process.pid}/root${cacheDir}`
  const things = Array.from({ length: 12 }, (_, at) => stored(origin, seen, random.bytes(at * 100 * KIB + 1)))
  for (let round = 0; round < 2; round += 1) {
    await Promise.all(things.map((entry) => ask(t, program, entry, 'full')))
    for (const entry of things) await ask(t, program, entry, 'full')
  }
  await until(() => cacheDirectory(seen).strays.length === 0)
  t.equal(program.log().match(/traffic goes on uncached/g)?.length, 1, 'said once')
  t.match(program.log(), /ENOSPC/)
  const { current_size: size } = await json(`http://127.0.0.1:${program.apiPort}/api/cache/stats`)
  t.equal(size, cacheDirectory(seen).bytes)
  t.ok(cacheDirectory(seen).entries.length > 0, 'what fits is kept')
  const remount = (mode: 'ro' | 'rw'): void =>
    void execFileSync('nsenter', [
      '-m',
      '-t',
      String(program.process.pid),
      'mount',
      '-o',
      `remount,${mode}`,
      cacheDir,
    ])
  // The kernel refuses for as long as a file is open for writing.
  await until(() => {
    try {
      remount('ro')
      return true
    } catch {
      return false
    }
  })
  for (const entry of things) await ask(t, program, entry, 'read-only')
  remount('rw')
  program.process.kill('SIGTERM')
  t.equal(await program.ended(), 0)
})
