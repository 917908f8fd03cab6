// Promise: a million entries fit into 400 MB of memory, and a hundred thousand keep nobody waiting at the start.
import { createHash } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { EntryIndex } from '../entry-index.js'
import { nameOfKey } from '../../rules/key.js'
import { serializeMeta } from '../../entry/meta.js'
import { get } from '../../../../test/lab/cache-front.js'
import { startCacheProcess } from './cache-process.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

/** A fifth of a million: the share of each hardly changes, and the machine has other work. */
const INDEXED = 200_000
const STORED = 100_000
/** Ten times what is promised, for a machine that does much else; the figure itself is in the comment. */
const FIRST_HIT_MS = 2000

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

t.test('an entry takes 400 bytes of the index at most', (t) => {
  collect()
  const before = process.memoryUsage()
  const index = new EntryIndex({
    maxSize: Number.MAX_SAFE_INTEGER,
    onChanged: () => undefined,
    onEvicted: () => undefined,
  })
  for (let at = 0; at < INDEXED; at += 1) {
    // As read from the disk: each with a text of its own.
    const rule = Buffer.from('patterns').toString()
    index.admit(nameOfKey(`key ${at}`), { footprint: 8192 * (1 + (at % 1_000_000)), rule })
  }
  collect()
  const after = process.memoryUsage()
  const each = (after.heapUsed + after.external - before.heapUsed - before.external) / INDEXED
  t.comment(`${each.toFixed(0)} bytes each`)
  t.ok(each <= 400, `${each} bytes`)
  t.equal(index.count, INDEXED)
  t.equal(index.stock('patterns').entries, INDEXED)
  t.end()
})

t.test('among 100,000 entries the first hit does not wait for the index', { timeout: 300_000 }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'discobot-index-'))
  t.teardown(() => rm(dir, { recursive: true }))
  const hexes: string[] = []
  for (let at = 0; at < STORED; at += 1) {
    const body = `body ${at}`
    const hex = createHash('sha256').update(body).digest('hex')
    const name = nameOfKey(`blob sha256:${hex}`)
    writeFileSync(join(dir, name), body)
    writeFileSync(
      join(dir, `${name}.meta`),
      serializeMeta({
        key: `blob sha256:${hex}`,
        status: 200,
        reason: 'OK',
        headers: ['Content-Type', 'application/octet-stream'],
        digest: `sha256:${hex}`,
        size: body.length,
        storedAt: 1_700_000_000_000 + at,
        age: 0,
        epoch: 'of another start',
        rule: 'patterns',
        access: '',
        place: 'https://a.test:443/v2/a',
        accept: '',
        others: [],
      }),
    )
    hexes.push(hex)
  }
  const origin = await MisbehavingOrigin.start(t)
  const child = await startCacheProcess(t, dir, origin.port)
  const here = { host: 'a.test' }
  const listening = performance.now()
  const first = await get(child.port, `/v2/a/blobs/sha256:${hexes[STORED / 2]}`, here)
  const waited = performance.now() - listening
  t.comment(`first hit ${waited.toFixed(0)} ms after listening`)
  t.match(first, { status: 200, headers: { 'x-cache': 'HIT' } })
  t.equal(first.body.toString(), `body ${STORED / 2}`)
  t.ok(waited <= FIRST_HIT_MS, `${waited} ms`)
  for (const at of [0, STORED - 1]) {
    t.equal((await get(child.port, `/v2/a/blobs/sha256:${hexes[at]}`, here)).body.toString(), `body ${at}`)
  }
  t.equal(origin.requests.length, 0)
  await child.kill()
})
