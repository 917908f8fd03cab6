import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { CacheRequest } from '../contract/contract.js'
import { entryKey } from '../rules/key.js'
import { isOutdated, parseMeta, serializeMeta, type EntryMeta } from '../entry/meta.js'
import { metaAt } from '../entry/sayings.js'
import { digestAnywhere, digestInPath } from '../entry/content-digest.js'
import { compileRules } from '../rules/rules.js'
import { Window } from '../body/window.js'

const HEX = 'ab'.repeat(32)
const SHARED = { by: '', rules: [], hosts: [] }

t.test(
  'a digest is found in the paths of registries, their storage and CDNs, and nowhere else',
  async (t) => {
    const blob = { algorithm: 'sha256', hex: HEX, kind: 'blob' }
    t.same(digestInPath(`/v2/library/ubuntu/blobs/sha256:${HEX}`), blob)
    t.same(digestInPath(`/v2/a/b/c/manifests/sha256:${HEX}`), { ...blob, kind: 'manifest' })
    t.same(digestInPath(`/registry-v2/docker/registry/v2/blobs/sha256/ab/${HEX}/data`), blob)
    t.same(digestInPath(`/sha256/ab/${HEX}`), blob)
    t.same(digestInPath(`/ghcr1/blobs/sha256:${HEX}`), blob)
    t.same(digestInPath(`/project.appspot.example/containers/images/sha256:${HEX}`), blob)
    const long = 'cd'.repeat(64)
    t.same(digestInPath(`/v2/a/blobs/sha512:${long}`), { algorithm: 'sha512', hex: long, kind: 'blob' })
    for (const path of [
      '/v2/a/manifests/latest',
      `/v2/a/manifests/sha256:${HEX.slice(1)}`,
      `/v2/a/blobs/sha256:${HEX.toUpperCase()}`,
      `/v2/a/blobs/sha256:${HEX}/extra`,
      `/v2/a/referrers/sha256:${HEX}`,
      `/v2/repositories/a/b/images/sha256:${HEX}`,
      `/v2/a/blobs/sha512:${HEX}`,
      `/sha256/00/${HEX}`,
      `/blobs/md5/ab/${HEX}`,
    ]) {
      t.equal(digestInPath(path), undefined, path)
    }
  },
)

t.test('content-addressed requests share a key, all others keep theirs', async (t) => {
  const request = (authority: string, path: string, query = ''): CacheRequest => ({
    method: 'GET',
    scheme: 'https',
    authority,
    path,
    query,
    header: () => undefined,
    fields: [],
  })
  const rules = compileRules({ patterns: ['.'], rules: [], ttl: 0, apart: SHARED })
  const entryKeyOf = (asked: CacheRequest) => {
    const covering = rules.find(asked)
    if (covering === undefined) throw new Error('not covered')
    return entryKey(asked, covering)
  }
  const one = entryKeyOf(request('a.test:443', `/v2/x/blobs/sha256:${HEX}`))
  const other = entryKeyOf(request('b.test:443', `/sha256/ab/${HEX}`, '?sig=1'))
  t.equal(one.name, other.name)
  t.match(one.name, /^[0-9a-f]{64}$/)
  t.not(one.name, entryKeyOf(request('a.test:443', `/v2/x/manifests/sha256:${HEX}`)).name)
  const plain = ['a.test:443', 'b.test:443'].flatMap((host) =>
    ['', '?a', '?b'].map((query) => entryKeyOf(request(host, '/plain/x', query)).name),
  )
  t.equal(new Set(plain).size, 6)
})

t.test('a digest that a rule verifies is the last one of its length in the path', async (t) => {
  const found = { algorithm: 'sha256', hex: HEX, kind: 'blob' }
  t.same(digestAnywhere(`/dists/x/by-hash/SHA256/${HEX}`, 'sha256'), found)
  t.same(digestAnywhere(`/${'cd'.repeat(32)}/${HEX}/${'ef'.repeat(64)}`, 'sha256'), found)
  t.equal(digestAnywhere(`/${HEX}`, 'sha512'), undefined)
  t.equal(digestAnywhere(`/${HEX}0`, 'sha256'), undefined)
})

t.test('paths longer than any package has are not matched at all', async (t) => {
  const rules = compileRules({ patterns: ['^/a.*b.*c'], rules: [], ttl: 0, apart: SHARED })
  const find = (path: string): unknown => rules.find({ authority: 'a.test:443', path })
  t.match(find('/abc'), { rule: { name: 'patterns' }, digest: undefined })
  t.equal(find(`/ab${'b'.repeat(3000)}c`), undefined)
  const none = compileRules({ patterns: [], rules: [], ttl: 0, apart: SHARED })
  t.equal(none.find({ authority: 'a.test:443', path: '/abc' }), undefined)
})

t.test('a window gives back what was put in, whatever the sizes, until it is trimmed', async (t) => {
  const window = new Window()
  const parts: Buffer[] = []
  let written = 0
  for (let round = 0; round < 400; round += 1) {
    const chunk = randomBytes([1, 10, 700, 8191, 8192, 20_000, 70_000, 0][round % 8] ?? 0)
    parts.push(chunk)
    window.push(chunk)
    written += chunk.length
    const { start, end } = window
    t.equal(end, written)
    const position = start + ((round * 7919) % Math.max(1, end - start))
    const whole = Buffer.concat(parts)
    const limit = 50_000
    const got = Buffer.concat(window.from(position, limit))
    if (!got.equals(whole.subarray(position, Math.min(end, position + limit)))) t.fail(`round ${round}`)
    if (end - start > 300_000) window.trim(end - 100_000)
  }
  t.same(window.from(window.end, 10), [])
  t.same(window.from(window.start - 1, 10), [])
  window.trim(window.end)
  t.equal(window.start, window.end)
  window.push(Buffer.from('x'))
  t.equal(Buffer.concat(window.from(window.end - 1, 10)).toString(), 'x')
})

t.test('a meta is read back as written, and anything else is refused', async (t) => {
  const meta: EntryMeta = {
    key: 'k',
    status: 200,
    reason: 'OK',
    headers: ['A', 'b'],
    digest: `sha256:${HEX}`,
    size: 1,
    storedAt: 2,
    age: 0,
    epoch: 'e',
    rule: 'npm',
    access: '',
    place: '',
    accept: '',
    others: [{ place: 'p', headers: ['C', 'd'], storedAt: 3, age: 0, access: '' }],
  }
  t.same(parseMeta(serializeMeta(meta)), meta)
  const { rule: _rule, access: _access, place: _place, accept: _accept, others: _others, ...older } = meta
  const first = (key: string): string => JSON.stringify({ version: 1, ...older, key })
  const proven = parseMeta(first(`blob sha256:${HEX}`))
  t.match(proven, { rule: 'patterns', access: '', others: [] })
  if (proven === undefined) return
  t.equal(metaAt(proven, 'https://a.test:443/v2/x'), undefined, 'nobody knows whose its headers are')
  t.equal(parseMeta(first('GET https://a.test:443/x')), undefined, 'nor in which words a URL was asked')
  t.ok(isOutdated(first('GET https://a.test:443/x')))
  const wrongs: object[] = [
    { size: -1 },
    { size: '1' },
    { size: 1.5 },
    { status: 206 },
    { headers: ['A'] },
    { headers: [1, 2] },
    { digest: 'md5:00' },
    { storedAt: 9e15 },
    { key: undefined },
    { others: [{}] },
    { place: undefined },
  ]
  for (const wrong of wrongs) {
    t.equal(parseMeta(serializeMeta({ ...meta, ...wrong })), undefined, JSON.stringify(wrong))
  }
  for (const text of ['', 'null', '[]', '{}', '{"version":3}', 'x']) t.equal(parseMeta(text), undefined, text)
})
