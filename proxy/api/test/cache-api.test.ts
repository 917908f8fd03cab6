// Promise: what is stored can be listed, removed and checked over the API, and nothing of it gives away a credential.
import { randomBytes } from 'node:crypto'
import { openSync, readdirSync, writeSync, closeSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { cacheRoutes } from '../cache-routes.js'
import { ApiServer } from '../server.js'
import { OPEN_ACCESS } from '../../../test/lab/open-access.js'
import type { EntryPage } from '../../cache/store/catalogue.js'
import { nameOfKey } from '../../cache/rules/key.js'
import type { ResponseCache } from '../../cache/response-cache.js'
import { noCache } from '../../cache/open-cache.js'
import { get, startCached, until, type FrontOptions } from '../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../test/lab/origins/misbehaving-origin.js'

interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

type Ask = (method: string, path: string) => Promise<Answer>

async function startApi(t: Test, cache: ResponseCache): Promise<Ask> {
  const routes = cacheRoutes({ cache, logger: silentLogger })
  const api = new ApiServer({ host: '127.0.0.1', port: 0, routes, access: OPEN_ACCESS, logger: silentLogger })
  const port = await api.start()
  t.teardown(() => api.stop())
  return async (method, path) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
}

const RULES = [
  { name: 'files', match: { path: '^/f/' } },
  { name: 'signed', match: { path: '^/s/' } },
]

async function start(t: Test, options: FrontOptions = {}) {
  const origin = await MisbehavingOrigin.start(t)
  const { cache, front, dir } = await startCached(t, origin.port, {
    ...options,
    section: { rules: RULES, ...options.section },
  })
  const ask = await startApi(t, cache)
  let stored = 0
  const store = async (path: string): Promise<void> => {
    const { status } = await get(front.port, path, { host: 'files.test' })
    if (status !== 200) throw new Error(`${path}: ${status}`)
    stored += 1
    await until(() => cache.stats().stores === stored)
  }
  const keys = async (query: string): Promise<string[]> => {
    const { body } = await ask('GET', `/api/cache/entries?${query}`)
    return (body as unknown as EntryPage).entries.map(({ key }) => key).sort()
  }
  return { origin, cache, front, dir, ask, store, keys }
}

t.test('entries are listed page by page, by rule, prefix and key, and removed likewise', async (t) => {
  const { origin, cache, ask, store, keys } = await start(t)
  const blobs = Array.from({ length: 5 }, () => origin.add(randomBytes(5000)))
  for (const path of blobs) await store(path)
  for (const path of blobs) await store(`/f/${path.slice(-64)}`)
  const first = await ask('GET', '/api/cache/entries?limit=1')
  const [entry] = (first.body as unknown as EntryPage).entries
  t.match(entry, {
    rule: /^(patterns|files)$/,
    size: 5000,
    disk_size: 12288,
    digest: /^sha256:[0-9a-f]{64}$/,
    stored_at: /^\d{4}-.*Z$/,
    last_used_at: /^\d{4}-.*Z$/,
  })

  const seen: string[] = []
  let query = 'limit=3'
  for (;;) {
    const { entries, next } = (await ask('GET', `/api/cache/entries?${query}`)).body as unknown as EntryPage
    seen.push(...entries.map(({ key }) => key))
    t.ok(entries.length <= 3)
    if (next === null) break
    query = `limit=3&cursor=${next}`
  }
  t.equal(seen.length, 10)
  t.equal(new Set(seen).size, 10)

  t.equal((await keys('rule=files')).length, 5)
  t.equal((await keys('prefix=blob%20')).length, 5)
  t.equal((await keys('prefix=blob%20&rule=files')).length, 0)
  const key = `blob sha256:${blobs[0]?.slice(-64)}`
  t.same(await keys(`key=${encodeURIComponent(key)}`), [key])
  t.match(cache.stats().rules, { patterns: { entries: 5 }, files: { entries: 5, misses: 5 } })

  const remove = (query: string): Promise<Answer> => ask('DELETE', `/api/cache/entries?${query}`)
  t.match(await remove(`key=${encodeURIComponent(key)}`), { status: 200, body: { entries: 1, bytes: 12288 } })
  t.match(await remove(`key=${encodeURIComponent(key)}`), { status: 200, body: { entries: 0, bytes: 0 } })
  t.match(await remove('rule=files'), { body: { entries: 5 } })
  t.match(await remove('prefix=blob%20sha256%3A'), { body: { entries: 4 } })
  t.match(cache.stats(), { current_size: 0, memory_size: 0 })
  t.same(await keys(''), [])
})

t.test('what cannot be meant is refused', async (t) => {
  const { origin, cache, ask, store } = await start(t)
  await store(origin.add('content'))
  for (const path of ['?', '?rule=', '?prefix=', '?rules=x', '?rule=a&rule=b', '?limit=1']) {
    t.equal((await ask('DELETE', `/api/cache/entries${path}`)).status, 400, path)
  }
  for (const path of ['?limit=0', '?limit=1001', '?limit=x', '?cursor=1', '?what=x']) {
    t.equal((await ask('GET', `/api/cache/entries${path}`)).status, 400, path)
  }
  t.ok(cache.stats().current_size > 0)
  const off = await startApi(t, noCache())
  t.match(await off('GET', '/api/cache/entries'), { status: 409, body: { code: 'CACHE_OFF' } })
})

t.test('of a query only the names are shown, and values cannot be found out by trying', async (t) => {
  const { origin, ask, store, keys, front } = await start(t)
  const path = `/s/${origin.add('signed content').slice(-64)}`
  await store(`${path}?header=X-Amz-Signature:topsecret&c2VjcmV0Cg==`)
  const [shown = ''] = await keys('rule=signed')
  const url = `GET https://files.test:443${path}`
  t.equal(shown, `${url}?header=[redacted]&[redacted]`)
  t.same(await keys(`prefix=${encodeURIComponent(`${url}?header=X`)}`), [])
  t.same(await keys(`prefix=${encodeURIComponent(`${url}?header=`)}`), [shown])
  const exact = `${url}?header=X-Amz-Signature:topsecret&c2VjcmV0Cg==`
  t.same(await keys(`key=${encodeURIComponent(exact)}`), [shown])
  t.match(await ask('DELETE', `/api/cache/entries?prefix=${encodeURIComponent(`${url}?header=`)}`), {
    body: { entries: 1 },
  })
  t.equal(front.outcomes.length, 1)
})

t.test('verify drops what is damaged, one run at a time, and tells how far it is', async (t) => {
  const { origin, cache, dir, ask, store, front } = await start(t, { section: { memory: 0 } })
  t.equal((await ask('GET', '/api/cache/verify')).status, 404)
  const paths = Array.from({ length: 4 }, () => origin.add(randomBytes(2_000_000)))
  for (const path of paths) await store(path)
  const damaged = nameOfKey(`blob sha256:${paths[1]?.slice(-64)}`)
  const file = openSync(join(dir, damaged), 'r+')
  writeSync(file, 'damage', 1_000_000)
  closeSync(file)

  const begun = await ask('POST', '/api/cache/verify')
  t.match(begun, { status: 202, body: { state: 'running', bad: 0, ended_at: null } })
  t.equal((await ask('POST', '/api/cache/verify')).status, 200, 'the same run')
  await until(async () => (await ask('GET', '/api/cache/verify')).body['state'] === 'done')
  t.match((await ask('GET', '/api/cache/verify')).body, {
    entries: 4,
    checked: 4,
    bad: 1,
    skipped: 0,
    bytes: 8_000_000,
    ended_at: /Z$/,
  })
  t.equal(cache.stats().errors, 1)
  await until(() => !readdirSync(dir).includes(damaged))
  t.equal((await get(front.port, paths[0] ?? '')).headers['x-cache'], 'HIT')
  t.equal((await get(front.port, paths[1] ?? '')).headers['x-cache'], 'MISS')
  t.equal((await ask('POST', '/api/cache/verify')).status, 202, 'another one')
  await cache.close()
  t.match((await ask('GET', '/api/cache/verify')).body, { state: 'stopped' })
})
