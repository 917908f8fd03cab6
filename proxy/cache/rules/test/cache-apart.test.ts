import { createHash } from 'node:crypto'
import t from 'tap'
import { loadDefaultConfig } from '../../../../config/layers/load.js'
import type { CacheRule } from '../../../../config/model/config.js'
import { get, openTestCache, startFront, until, type FrontOptions } from '../../../../test/lab/cache-front.js'
import { startRecordingOrigin, startRecorded } from '../../../../test/lab/origins/recording-origin.js'

// The promise: one workspace's rules decide nothing about what others are given from the same store.

const HEX = createHash('sha256').update('content').digest('hex')
const { rules: SHIPPED } = loadDefaultConfig().config.cache
const CRATES: CacheRule = { ...SHIPPED.find(({ name }) => name === 'crates'), name: 'crates' }
const IGNORING = [{ ...CRATES, ignore_query: true }]

type Section = NonNullable<FrontOptions['section']>

t.test('what one session’s rules keep is not what later sessions are given', async (t) => {
  const origin = await startRecordingOrigin(t, ({ url = '' }, response) => {
    response.setHeader('Content-Type', 'application/octet-stream')
    response.end(url.includes('old') ? 'old' : 'new')
  })
  const dir = t.testdir()
  const session = async (section: Section, path: string): Promise<string> => {
    const cache = await openTestCache(dir, { section })
    const front = await startFront(cache, origin.port)
    const before = cache.stats().stores
    const { headers, body } = await get(front.port, path, { host: 'a.test' })
    if (headers['x-cache'] === 'MISS') await until(() => cache.stats().stores > before)
    await cache.close()
    await front.close()
    return `${String(headers['x-cache'])} ${body.toString()}`
  }
  const mine: Section = { rules: IGNORING, apart: { by: 'mine', rules: ['crates'], hosts: [] } }
  const theirs: Section = { rules: IGNORING, apart: { by: 'theirs', rules: ['crates'], hosts: [] } }
  t.equal(await session(mine, '/x-1.crate?versionId=old'), 'MISS old')
  t.equal(await session({ rules: [CRATES] }, '/x-1.crate'), 'MISS new')
  t.equal(await session({ rules: [CRATES] }, '/x-1.crate'), 'HIT new')
  t.equal(await session(mine, '/x-1.crate'), 'HIT old', 'its own')
  t.equal(await session(theirs, '/x-1.crate'), 'MISS new', 'nor what another workspace keeps')
  // Whoever decides, a key says what of the URL it ignores.
  t.equal(await session({ rules: IGNORING }, '/x-1.crate?versionId=old'), 'MISS old')
  t.equal(await session({ rules: [CRATES] }, '/x-1.crate'), 'HIT new')
})

t.test(
  'what is asked for with a workspace’s headers is its own; of a digest, what is said of it',
  async (t) => {
    let words = '"theirs"'
    const { front, cache, asked } = await startRecorded(
      t,
      (_request, response) => {
        response.setHeader('ETag', words)
        response.end('content')
      },
      { section: { apart: { by: 'w', rules: [], hosts: ['*.a.test'] } } },
    )
    const tagOf = async (path: string, host: string) => (await get(front.port, path, { host })).headers.etag
    const blob = `/v2/a/blobs/sha256:${HEX}`
    for (const path of ['/plain/x', blob]) await tagOf(path, 'x.a.test')
    await until(() => cache.stats().stores === 2)
    const page = await cache.catalogue?.page({}, 10)
    t.same(page?.entries.map(({ key }) => key).sort(), [
      'apart w GET https://x.a.test:443/plain/x',
      `blob sha256:${HEX}`,
    ])
    words = '"ours"'
    await cache.reconfigure({
      ...loadDefaultConfig().config.cache,
      patterns: ['.'],
      dir: '',
      min_free: 0,
    })
    t.equal(await tagOf('/plain/x', 'x.a.test'), '"ours"')
    t.equal(await tagOf(blob, 'x.a.test'), '"ours"', 'the same host, asked in other words')
    t.equal(asked.filter(({ line }) => line === `GET ${blob}`).length, 1, 'but its bytes are shared')
  },
)
