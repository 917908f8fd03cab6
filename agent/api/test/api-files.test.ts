import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { execPath } from 'node:process'
import fc from 'fast-check'
import t from 'tap'
import { readRange } from '../files/range.js'
import {
  ask,
  open,
  startApi,
  type Answer,
  type Api,
  type Asking,
  type Scope,
} from '../../../test/lab/api-process.js'
import { waitFor } from '../../../test/lab/service-lab.js'

interface Files {
  readonly api: Api
  readonly workspace: string
  /** Beside the workspace, where nothing must happen. */
  readonly outside: string
  files(method: string, path: string, more?: Asking & { readonly query?: string }): Promise<Answer>
}

async function start(t: Scope & { testdir(): string }, env: Record<string, string> = {}): Promise<Files> {
  const root = t.testdir()
  const workspace = join(root, 'workspace')
  const outside = join(root, 'outside')
  mkdirSync(workspace)
  mkdirSync(outside)
  writeFileSync(join(outside, 'secret'), 'outside')
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace, ...env })
  const files: Files['files'] = (method, path, { query = '', ...more } = {}) =>
    ask(api.port, `/api/files?path=${encodeURIComponent(path)}${query}`, { method, ...more })
  return { api, workspace, outside, files }
}

t.test('a file is written, read, changed and deleted', async (t) => {
  const { files, workspace } = await start(t)
  const made = await files('PUT', 'a file ä', { body: 'one' })
  t.match(made, { status: 201, headers: { etag: /^"\S+"$/ } })
  t.same(JSON.parse(made.body), { path: 'a file ä', type: 'file', bytes: 3 })
  const read = await files('GET', './a file ä')
  t.match(read, { status: 200, body: 'one', headers: { etag: made.headers.etag, 'accept-ranges': 'bytes' } })
  t.match(read.headers, { 'content-type': 'application/octet-stream', 'content-disposition': 'attachment' })
  t.match(await files('HEAD', 'a file ä'), { status: 200, body: '', headers: { 'content-length': '3' } })

  chmodSync(join(workspace, 'a file ä'), 0o755)
  t.equal((await files('PUT', 'a file ä', { body: 'two' })).status, 200)
  t.equal(statSync(join(workspace, 'a file ä')).mode & 0o777, 0o755, 'the mode stays')
  t.equal(readFileSync(join(workspace, 'a file ä'), 'utf8'), 'two')
  t.equal((await files('DELETE', 'a file ä')).status, 204)
  t.equal((await files('GET', 'a file ä')).status, 404)
  t.equal((await files('DELETE', 'a file ä')).status, 404)
  t.same(readdirSync(workspace), [], 'and nothing is left beside it')
})

t.test('who believes something else of a file does not change it', async (t) => {
  const { files, workspace } = await start(t)
  const first = (await files('PUT', 'f', { body: '1' })).headers.etag ?? ''
  const mine = { headers: { 'if-match': first } }
  t.equal((await files('GET', 'f', { headers: { 'if-none-match': first } })).status, 304)
  t.equal((await files('PUT', 'f', { body: '2', ...mine })).status, 200)
  t.equal((await files('PUT', 'f', { body: '3', ...mine })).status, 412)
  t.equal((await files('DELETE', 'f', mine)).status, 412)
  t.equal((await files('GET', 'f', { headers: { 'if-none-match': first } })).status, 200)
  t.equal((await files('PUT', 'f', { body: '3', headers: { 'if-none-match': '*' } })).status, 412)
  t.equal((await files('PUT', 'g', { body: '3', headers: { 'if-match': '*' } })).status, 412)
  t.equal((await files('PUT', 'g', { body: '4', headers: { 'if-none-match': '*' } })).status, 201)
  t.equal((await files('PUT', 'g', { body: '5', headers: { 'if-none-match': '"x"' } })).status, 400)
  t.equal(readFileSync(join(workspace, 'f'), 'utf8'), '2')
  // In place and with the same length, as an editor of the user's may.
  const seen = (await files('GET', 'f')).headers.etag ?? ''
  writeFileSync(join(workspace, 'f'), 'X')
  t.equal((await files('PUT', 'f', { body: '6', headers: { 'if-match': seen } })).status, 412)
})

t.test('of many who make one file, or change one version, exactly one succeeds', async (t) => {
  const { files, workspace } = await start(t)
  const all = (headers: Record<string, string>): Promise<number[]> =>
    Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        return (await files('PUT', 'f', { headers, body: String(index).repeat(100_000) })).status
      }),
    )
  const made = await all({ 'if-none-match': '*' })
  t.same(
    [made.filter((status) => status === 201).length, made.filter((status) => status === 412).length],
    [1, 19],
  )
  const changed = await all({ 'if-match': (await files('GET', 'f')).headers.etag ?? '' })
  t.same(
    [changed.filter((status) => status === 200).length, changed.filter((s) => s === 412).length],
    [1, 19],
  )
  t.same(readdirSync(workspace), ['f'])
})

t.test('parts of a file', async (t) => {
  const { files } = await start(t)
  const { etag = '' } = (await files('PUT', 'f', { body: '0123456789' })).headers
  for (const [range, status, body, contentRange] of [
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=7-', 206, '789', 'bytes 7-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=-30', 206, '0123456789', 'bytes 0-9/10'],
    ['bytes=8-99', 206, '89', 'bytes 8-9/10'],
    ['bytes=10-', 416, undefined, 'bytes */10'],
    ['bytes=-0', 416, undefined, 'bytes */10'],
    ['bytes=4-2', 200, '0123456789', undefined],
    ['bytes=0-1,4-5', 200, '0123456789', undefined],
    ['lines=0-1', 200, '0123456789', undefined],
  ] as const) {
    const answer = await files('GET', 'f', { headers: { range } })
    t.equal(answer.status, status, range)
    if (body !== undefined) t.equal(answer.body, body, range)
    t.equal(answer.headers['content-range'], contentRange, range)
  }
  const conditional = (tag: string): Promise<Answer> =>
    files('GET', 'f', { headers: { range: 'bytes=0-0', 'if-range': tag } })
  t.match(await conditional(etag), { status: 206, body: '0' })
  t.match(await conditional('"other"'), { status: 200, body: '0123456789' })
  t.equal((await files('PUT', 'empty')).status, 201)
  t.match(await files('GET', 'empty'), { status: 200, body: '' })
  t.equal((await files('GET', 'empty', { headers: { range: 'bytes=0-' } })).status, 416)
  fc.assert(
    fc.property(fc.string(), fc.nat(1000), (range, size) => {
      try {
        const { first, last } = readRange({ range }, '"t"', size) ?? { first: 0, last: -1 }
        return last === -1 || (first >= 0 && first <= last && last < size)
      } catch {
        return true
      }
    }),
  )
})

t.test('folders are listed, made and deleted', async (t) => {
  const { files, workspace } = await start(t)
  t.equal((await files('PUT', 'a/b', { query: '&type=folder' })).status, 404)
  t.equal((await files('PUT', 'a/b', { query: '&type=folder&parents=true' })).status, 201)
  t.equal((await files('PUT', 'a/b', { query: '&type=folder' })).status, 200)
  t.equal((await files('PUT', 'a/b', { query: '&type=folder', body: 'x' })).status, 400)
  t.equal((await files('PUT', 'x/y/z', { query: '&parents=true', body: '12345' })).status, 201)
  symlinkSync('z', join(workspace, 'x/y/link'))
  execFileSync('mkfifo', [join(workspace, 'x/y/pipe')])
  const listing = JSON.parse((await files('GET', 'x/y')).body) as { entries: object[] }
  t.match(listing, {
    path: 'x/y',
    truncated: false,
    entries: [
      { name: 'link', type: 'link' },
      { name: 'pipe', type: 'other' },
      { name: 'z', type: 'file', bytes: 5, modified: /^20\d\d-.*Z$/ },
    ],
  })
  t.equal(listing.entries.length, 3)
  t.match(JSON.parse((await files('GET', '')).body), {
    entries: [{ name: 'a' }, { name: 'x', type: 'folder' }],
  })
  t.equal((await files('GET', 'x/y/pipe')).status, 409, 'and it is not waited for')
  t.equal((await files('DELETE', 'x')).status, 409)
  t.equal((await files('DELETE', 'x', { query: '&recursive=true' })).status, 204)
  t.equal((await files('DELETE', 'a/b')).status, 204)
  t.same(readdirSync(workspace), ['a'])
})

t.test('10,000 entries and no more', async (t) => {
  const { files, workspace } = await start(t)
  for (let index = 0; index < 10_001; index += 1) writeFileSync(join(workspace, String(index)), '')
  const { entries, truncated } = JSON.parse((await files('GET', '')).body) as {
    entries: object[]
    truncated: boolean
  }
  t.same([entries.length, truncated], [10_000, true])
})

t.test('no path leads out of the workspace', async (t) => {
  const { files, workspace, outside } = await start(t)
  writeFileSync(join(workspace, 'inside'), 'inside')
  mkdirSync(join(workspace, 'folder'))
  symlinkSync('../outside', join(workspace, 'out'))
  symlinkSync('../outside/secret', join(workspace, 'file-out'))
  symlinkSync('../outside/new', join(workspace, 'dangling'))
  symlinkSync('/proc/self/root', join(workspace, 'proc'))
  symlinkSync('../inside', join(workspace, 'folder/in'))
  symlinkSync('loop', join(workspace, 'loop'))
  for (const [method, path, status] of [
    ['GET', '../outside/secret', 400],
    ['GET', 'folder/../../outside/secret', 400],
    ['GET', '/etc/passwd', 400],
    ['GET', 'in\0side', 400],
    ['GET', 'out/secret', 403],
    ['GET', 'out', 403],
    ['GET', 'file-out', 403],
    ['GET', 'proc/etc/passwd', 403],
    ['GET', 'loop', 403],
    ['GET', `${'x/'.repeat(3000)}x`, 400],
    ['GET', 'x'.repeat(300), 400],
    ['GET', 'inside/below', 409],
    ['PUT', 'out/new', 403],
    ['PUT', 'out/new/deeper&parents=true', 403],
    ['PUT', 'file-out', 403],
    ['PUT', 'dangling', 409],
    ['PUT', '../outside/new', 400],
    ['PUT', '', 409],
    ['PUT', 'folder', 409],
    ['PUT', 'dangling&type=folder', 409],
    ['DELETE', 'out/secret', 403],
    ['DELETE', '', 409],
    ['DELETE', '.', 409],
  ] as const) {
    const [name = '', ...query] = path.split('&')
    const more = query.map((one) => `&${one}`).join('')
    const answer = await files(method, name, {
      query: more,
      ...(method === 'PUT' && more !== '&type=folder' ? { body: 'x' } : {}),
    })
    t.equal(answer.status, status, `${method} ${path.slice(0, 40)} ${answer.body}`)
    t.equal(answer.headers['content-type'], 'application/problem+json')
    t.notMatch(answer.body, /outside"|root:/)
  }
  t.match(await files('GET', 'folder/in'), { status: 200, body: 'inside' }, 'a link within is followed')
  t.equal((await files('PUT', 'folder/in', { body: 'changed' })).status, 200)
  t.ok(lstatSync(join(workspace, 'folder/in')).isSymbolicLink(), 'and stays one')
  t.equal(readFileSync(join(workspace, 'inside'), 'utf8'), 'changed')
  t.equal((await files('DELETE', 'file-out')).status, 204, 'the link itself may go')
  t.equal((await files('DELETE', 'folder', { query: '&recursive=true' })).status, 204)
  t.equal(readFileSync(join(workspace, 'inside'), 'utf8'), 'changed', 'and what it named stays')
  t.same(readdirSync(outside), ['secret'])
  t.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'outside')
})

t.test('somebody who swaps folders for links all the time gets nothing out and nothing in', async (t) => {
  const { files, workspace, outside } = await start(t)
  mkdirSync(join(workspace, 'a'))
  writeFileSync(join(workspace, 'a/secret'), 'inside')
  symlinkSync('../outside', join(workspace, 'link'))
  const code = `const { renameSync: mv } = require('fs'); for (let first = true; ; first = false) {
    mv('a', 't'); mv('link', 'a'); mv('a', 'link'); mv('t', 'a'); if (first) process.stdout.write('.') }`
  const swapper = spawn(execPath, ['-e', code], { cwd: workspace })
  t.teardown(() => void swapper.kill('SIGKILL'))
  await new Promise((resolve) => swapper.stdout.once('data', resolve))
  const seen = new Set<number>()
  for (let round = 0; round < 150; round += 1) {
    const [read, written, deleted] = await Promise.all([
      files('GET', 'a/secret'),
      files('PUT', `a/new-${round}`, { body: 'x' }),
      files('DELETE', `a/new-${round - 1}`),
    ])
    for (const { status } of [read, written, deleted]) seen.add(status)
    if (read.status === 200 ? read.body !== 'inside' : ![403, 404, 409].includes(read.status))
      t.fail(`${read.status} ${read.body}`)
  }
  swapper.kill('SIGKILL')
  t.ok(seen.has(200) && seen.has(201) && seen.has(403), `the race was on: ${[...seen].join(' ')}`)
  t.same(readdirSync(outside), ['secret'])
})

t.test('a large file streams both ways, and what a slow client leaves half is not there', async (t) => {
  const { api, files, workspace } = await start(t, {
    DISCOBOT_API_MAX_UPLOAD: String(64 * 1024 * 1024),
    DISCOBOT_API_CLIENT_TIMEOUT: '1',
  })
  const body = Buffer.alloc(48 * 1024 * 1024, 'discobot')
  t.equal((await files('PUT', 'large', { body })).status, 201)
  const back = await files('GET', 'large')
  const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
  t.equal(digest(back.bytes), digest(body))
  const rss = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${api.child.pid}/status`, 'utf8'))?.[1]) / 1024
  t.ok(rss < 180, `${rss} MiB at most`)

  const chunked = { headers: { 'transfer-encoding': 'chunked' }, body: Buffer.alloc(65 * 1024 * 1024) }
  t.equal((await files('PUT', 'larger', chunked)).status, 413)
  t.equal(
    (await files('PUT', 'larger', { body: 'x', headers: { 'content-length': '99999999999' } })).status,
    413,
  )

  const head = 'PUT /api/files?path=slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc'
  const said = await new Promise<string>((resolve, reject) => {
    const socket = connect(api.port, '127.0.0.1', () => socket.write(head))
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.once('error', reject)
    socket.once('close', () => resolve(text))
  })
  t.match(said, /^HTTP\/1\.1 408 /)

  const { asked, answer } = await open(api.port, '/api/files?path=large')
  const cut = new Promise((resolve) => answer.once('error', resolve))
  answer.pause()
  // Nobody reads: the API gives the client up, which shows once we read again.
  await waitFor('the end of the connection', () => isClosedThere(api.port, asked.socket?.localPort ?? 0))
  answer.resume()
  await cut
  t.same(readdirSync(workspace), ['large'])
})

t.test('a client that leaves in the middle leaves nothing behind', async (t) => {
  const { api, workspace } = await start(t)
  const head = 'PUT /api/files?path=half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc'
  const socket = connect(api.port, '127.0.0.1', () => socket.write(head))
  await waitFor('the beginning', () => readdirSync(workspace).length === 1)
  t.notOk(existsSync(join(workspace, 'half')))
  socket.destroy()
  await waitFor('the end', () => readdirSync(workspace).length === 0)
})

/** Whether the kernel has no connection of the server's with our port any more. */
function isClosedThere(server: number, client: number): boolean {
  const hex = (port: number): string => `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  return !readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    // Local address, remote address, state; 01 is ESTABLISHED (proc(5)).
    .some((line) => line.includes(`${hex(server)}0100007F${hex(client)}01`))
}
