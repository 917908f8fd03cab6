import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { extract, pack } from 'tar-stream'
import t, { type Test } from 'tap'
import { curl, folder, json, start, type Program } from '../../../../test/lab/program.js'

// The promise: a cache can be carried elsewhere as a tar; nothing wrong gets in by it, and nothing outside is touched.

const MAIN = fileURLToPath(new URL('../../../main.js', import.meta.url))
const RULES = { cache: { rules: [{ name: 'files', match: { path: '^/files/' } }] } }
const OFFLINE = { cache: { ...RULES.cache, offline: true } }

interface Ran {
  readonly exitCode?: number | undefined
  readonly stderr: string
  readonly stdout: string
}

/** A command on the cache of a data dir. */
function run(dir: string, ...args: string[]): Promise<Ran> {
  return execa(process.execPath, [MAIN, ...args], { reject: false, env: { DISCOBOT_DATA_DIR: dir } })
}

interface Site {
  readonly url: (path: string) => string
  readonly bodies: Readonly<Record<string, Buffer>>
}

/** An origin with a blob, a small and an empty file. */
async function site(t: Test): Promise<Site> {
  const blob = randomBytes(3_000_000)
  const bodies = {
    [blobPath(blob)]: blob,
    '/files/small': Buffer.from('small'),
    '/files/empty': Buffer.alloc(0),
  }
  const server = createServer((request, response) => {
    const body = bodies[request.url ?? ''] ?? Buffer.alloc(0)
    response.writeHead(200, { 'Content-Length': body.length, ETag: '"1"' }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { bodies, url: (path) => `http://127.0.0.1:${port}${path}` }
}

function blobPath(blob: Buffer): string {
  return `/v2/app/blobs/sha256:${createHash('sha256').update(blob).digest('hex')}`
}

/** Fetches everything, and waits until it is stored. */
async function fill(program: Program, dir: string, { bodies, url }: Site): Promise<void> {
  for (const path of Object.keys(bodies)) await curl(program, dir, '-o', '/dev/null', url(path))
  const api = `http://127.0.0.1:${program.apiPort}/api/cache/stats`
  while ((await json(api))['stores'] !== Object.keys(bodies).length) continue
}

/** All bodies, or a status for what is not served. */
async function served(program: Program, dir: string, { bodies, url }: Site): Promise<readonly string[]> {
  const found: string[] = []
  for (const [path, body] of Object.entries(bodies)) {
    const copy = join(dir, 'copy')
    const { stdout } = await curl(program, dir, '-o', copy, '-w', '%{http_code}', url(path))
    found.push(stdout === '200' && readFileSync(copy).equals(body) ? 'right' : stdout)
  }
  return found
}

function archiveOf(t: Test): string {
  return join(folder(t), 'warm.tar')
}

void t.test(
  'a store goes out of a stopped proxy and into another, which then serves it offline',
  async (t) => {
    const [from, to, origin] = [folder(t), folder(t), await site(t)]
    const first = await start(t, from, RULES)
    await fill(first, from, origin)
    first.process.kill('SIGTERM')
    await first.ended()

    const archive = archiveOf(t)
    t.match(await run(from, 'export', '-o', archive), { exitCode: 0, stderr: /^exported 3\.0 MB to / })
    const { stdout: listed } = await execa('tar', ['-tvf', archive])
    t.equal(listed.split('\n').length, 6, 'GNU tar reads it: a meta and a body for each')
    t.match(await run(to, 'import', archive), { exitCode: 0, stderr: 'imported 3 entries (3.0 MB)' })
    t.match(await run(to, 'import', archive), {
      exitCode: 0,
      stderr: /imported 0 entries .* 3 were there already/,
    })
    const again = archiveOf(t)
    await run(to, 'export', '-o', again)
    t.ok(readFileSync(again).equals(readFileSync(archive)), 'the same entries make the same archive')

    const second = await start(t, to, OFFLINE)
    t.strictSame(await served(second, to, origin), ['right', 'right', 'right'])
  },
)

void t.test(
  'root works on the directory as the one it belongs to, and leaves nothing there that one cannot read',
  { skip: process.getuid?.() === 0 ? false : 'needs root' },
  async (t) => {
    const [from, to, origin] = [folder(t), folder(t), await site(t)]
    const first = await start(t, from, RULES)
    await fill(first, from, origin)
    first.process.kill('SIGTERM')
    await first.ended()
    const caches = [from, to].map((dir) => join(dir, 'proxy/cache'))
    const [owner, group] = [4711, 4712]
    for (const cache of caches) {
      mkdirSync(cache, { recursive: true })
      await execa('chown', ['-R', `${owner}:${group}`, cache])
      for (let dir = cache; dir !== tmpdir(); dir = dirname(dir)) chmodSync(dir, 0o755)
    }
    const archive = archiveOf(t)
    t.match(await run(from, 'export', '-o', archive), { exitCode: 0 })
    t.match(statSync(archive), { uid: 0, mode: 0o100600 })
    t.match(await run(to, 'import', archive), { exitCode: 0, stderr: 'imported 3 entries' })
    for (const cache of caches) {
      for (const name of readdirSync(cache))
        t.match(statSync(join(cache, name)), { uid: owner, gid: group }, name)
    }
  },
)

void t.test('running proxies give and take while they serve', async (t) => {
  const [from, to, origin] = [folder(t), folder(t), await site(t)]
  const first = await start(t, from, RULES)
  await fill(first, from, origin)
  const second = await start(t, to, OFFLINE)
  t.strictSame(await served(second, to, origin), ['504', '504', '504'])

  const exporting = execa(
    process.execPath,
    [MAIN, 'export', '--rule', 'files', '--api-port', String(first.apiPort)],
    {
      env: { DISCOBOT_DATA_DIR: from },
      encoding: 'buffer',
    },
  )
  const importing = execa(process.execPath, [MAIN, 'import', '-', '--api-port', String(second.apiPort)], {
    env: { DISCOBOT_DATA_DIR: to },
    input: (await exporting).stdout,
  })
  t.match((await importing).stderr, 'imported 2 entries (5 B)')
  t.strictSame(await served(second, to, origin), ['504', 'right', 'right'])

  const api = (program: Program, path: string): string =>
    `http://127.0.0.1:${program.apiPort}/api/cache/${path}`
  t.equal((await fetch(api(first, 'export'))).status, 401)
  t.equal((await fetch(api(first, 'import'), { method: 'POST', body: '' })).status, 401)
  const headers = { Authorization: `Bearer ${readFileSync(join(to, 'proxy/api-token'), 'utf8').trim()}` }
  t.equal((await fetch(api(second, 'import'), { method: 'POST', body: 'x', headers })).status, 415)
  const garbage = await fetch(api(second, 'import'), {
    method: 'POST',
    body: randomBytes(100_000),
    headers: { ...headers, 'Content-Type': 'application/x-tar' },
  })
  t.equal(garbage.status, 422)
  t.match(await garbage.json(), { code: 'CACHE_ARCHIVE_INVALID' })
})

interface Member {
  readonly name: string
  readonly type?: 'file' | 'symlink' | 'link' | 'character-device' | 'directory' | 'fifo'
  readonly body?: Buffer
}

async function tarOf(members: readonly Member[]): Promise<Buffer> {
  const archive = pack()
  for (const { name, type = 'file', body = Buffer.alloc(0) } of members) {
    if (type === 'file') archive.entry({ name }, body)
    else archive.entry({ name, type, linkname: '/etc/passwd', size: 0 })
  }
  archive.finalize()
  const pieces: Buffer[] = []
  for await (const piece of archive) pieces.push(piece)
  return Buffer.concat(pieces)
}

async function membersOf(archive: Buffer): Promise<Member[]> {
  const unpacked = extract()
  unpacked.end(archive)
  const members: Member[] = []
  for await (const entry of unpacked) {
    const pieces: Buffer[] = []
    for await (const piece of entry) pieces.push(piece)
    members.push({ name: entry.header.name, body: Buffer.concat(pieces) })
  }
  return members
}

void t.test(
  'what is no archive of a cache is refused with its reason, and nothing comes of it',
  async (t) => {
    const [from, origin] = [folder(t), await site(t)]
    const program = await start(t, from, RULES)
    await fill(program, from, origin)
    const { stdout } = await execa(
      process.execPath,
      [MAIN, 'export', '--api-port', String(program.apiPort)],
      {
        env: { DISCOBOT_DATA_DIR: from },
        encoding: 'buffer',
      },
    )
    const good = Buffer.from(stdout)
    const members = await membersOf(good)
    const at = members.findIndex(({ body }) => body?.length === 3_000_000)
    const [meta, blob] = [members[at - 1], members[at]]
    if (meta?.body === undefined || blob?.body === undefined) throw new Error('the archive has no blob')
    const value = JSON.parse(meta.body.toString()) as Record<string, unknown>
    const metaWith = (change: object): Member => ({
      ...meta,
      body: Buffer.from(JSON.stringify({ ...value, ...change })),
    })
    const other = randomBytes(3_000_000)
    const otherDigest = `sha256:${createHash('sha256').update(other).digest('hex')}`

    const refused: Readonly<Record<string, readonly [archive: Buffer, why: RegExp]>> = {
      'no tar': [randomBytes(50_000), /no whole tar archive/],
      'broken off in a body': [good.subarray(0, 2_000_000), /no whole tar archive/],
      'a path that leads out': [
        await tarOf([{ name: '../../../etc/cron.d/x', body: Buffer.from('x') }]),
        /is no file of a cache/,
      ],
      'an absolute path': [
        await tarOf([{ name: '/etc/cron.d/x', body: Buffer.from('x') }]),
        /is no file of a cache/,
      ],
      'a symbolic link': [
        await tarOf([{ name: blob.name, type: 'symlink' }]),
        /\(symlink\) is no file of a cache/,
      ],
      'a hard link': [await tarOf([{ name: blob.name, type: 'link' }]), /\(link\) is no file of a cache/],
      'a device': [await tarOf([{ name: blob.name, type: 'character-device' }]), /is no file of a cache/],
      'a folder': [await tarOf([{ name: 'folder/', type: 'directory' }]), /is no file of a cache/],
      'a lock': [await tarOf([{ name: 'lock', body: Buffer.from('{}') }]), /is no file of a cache/],
      'a body alone': [await tarOf([blob]), /does not come after its meta/],
      'a meta alone': [await tarOf([meta]), /is missing/],
      'a meta of nonsense': [await tarOf([{ ...meta, body: Buffer.from('{}') }, blob]), /makes no sense/],
      'a huge meta': [await tarOf([{ ...meta, body: Buffer.alloc(300_000) }, blob]), /300000 bytes/],
      'a meta of another entry': [
        await tarOf([metaWith({ key: 'GET http://host.example:80/' }), blob]),
        /is of another entry/,
      ],
      'another body under a digest': [
        await tarOf([metaWith({ digest: otherDigest }), { ...blob, body: other }]),
        /is of another entry/,
      ],
      'another length': [
        await tarOf([meta, { ...blob, body: Buffer.from('short') }]),
        /its meta says 3000000/,
      ],
    }
    const taking = folder(t)
    const taker = await start(t, taking, OFFLINE)
    const headers = {
      Authorization: `Bearer ${readFileSync(join(taking, 'proxy/api-token'), 'utf8').trim()}`,
      'Content-Type': 'application/x-tar',
    }
    for (const [what, [archive, why]] of Object.entries(refused)) {
      const url = `http://127.0.0.1:${taker.apiPort}/api/cache/import`
      const answer = await fetch(url, { method: 'POST', body: archive, headers })
      t.equal(answer.status, 422, what)
      t.match(await answer.json(), { error: why, code: 'CACHE_ARCHIVE_INVALID' }, what)
      // What came whole before the fault may stay: that has been checked.
      const files = readdirSync(join(taking, 'proxy/cache'))
      t.notOk(
        files.some((name) => name.endsWith('.tmp') || name.startsWith(blob.name)),
        `${what}: nothing is left behind`,
      )
    }

    const to = folder(t)
    const file = join(to, 'damaged.tar')
    const flipped = Buffer.from(blob.body)
    flipped[1_000_000] = (flipped[1_000_000] ?? 0) ^ 1
    writeFileSync(
      file,
      await tarOf([
        ...members.filter(({ name }) => !name.startsWith(blob.name)),
        meta,
        { ...blob, body: flipped },
      ]),
    )
    const old = (key: string): Member => ({
      name: createHash('sha256').update(key).digest('hex'),
      body: Buffer.from('old'),
    })
    const before = old('GET http://host.example:80/old')
    const outdated = join(to, 'outdated.tar')
    const firstVersion = { version: 1, key: 'GET http://host.example:80/old', size: 3 }
    writeFileSync(
      outdated,
      await tarOf([
        { name: `${before.name}.meta`, body: Buffer.from(JSON.stringify(firstVersion)) },
        before,
        meta,
        blob,
      ]),
    )
    t.match(await run(folder(t), 'import', outdated), {
      exitCode: 0,
      stderr: /imported 1 entries \(.*\); 1 are of an earlier version and were left out/,
    })
    const ran = await run(to, 'import', file)
    t.match(ran, {
      exitCode: 1,
      stderr: /imported 2 entries \(5 B\); 1 are damaged and were left out: blob sha256:/,
    })
    const second = await start(t, to, OFFLINE)
    t.strictSame(await served(second, to, origin), ['504', 'right', 'right'])
  },
)

void t.test('wrong usage', async (t) => {
  const dir = folder(t)
  t.match(await run(dir, 'import'), { exitCode: 2, stderr: /name one file/ })
  t.match(await run(dir, 'export', 'file'), { exitCode: 2, stderr: /with -o/ })
  t.match(await run(dir, 'import', join(dir, 'missing.tar')), { exitCode: 1, stderr: /ENOENT/ })
  t.match(await run(dir, 'export', '-o', join(dir, 'no/such/folder.tar')), { exitCode: 1, stderr: /ENOENT/ })
})
