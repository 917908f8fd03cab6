import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger, type Logger } from '../../../../base/log/logger.js'
import { get, openSlow, openTestCache, startFront, until } from '../../../../test/lab/cache-front.js'
import { startCacheProcess } from './cache-process.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const MIB = 1024 * 1024

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

const mountable = process.getuid?.() === 0 && canMount()
const needsRoot = mountable
  ? false
  : 'NOT TESTED HERE: a full disk needs a tmpfs, and mounting one needs root'

function canMount(): boolean {
  try {
    execFileSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** The kernel refuses as long as any file is open for writing: a descriptor that leaks ends in a time-out here. */
function remounts(dir: string): boolean {
  try {
    execFileSync('mount', ['-o', 'remount,ro', dir], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

t.test('a full or read-only disk costs the cache and no traffic', { skip: needsRoot }, async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = join(t.testdir(), 'small')
  mkdirSync(dir)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', dir])
  let mounted = true
  const unmount = (): void => {
    if (mounted) execFileSync('umount', ['-l', dir])
    mounted = false
  }
  t.teardown(unmount)
  const lines: string[] = []
  const warn = (fields: object, message: string): void => void lines.push(message + JSON.stringify(fields))
  const logger: Logger = { ...silentLogger, warn, error: warn, debug: () => undefined, info: () => undefined }
  const cache = await openTestCache(dir, { logger })
  const front = await startFront(cache, origin.port)

  const small = origin.addGenerated(2 * MIB)
  await get(front.port, small)
  await until(() => cache.stats().stores === 1)
  const big = origin.addGenerated(40 * MIB)
  for (let round = 1; round <= 3; round += 1) {
    const slow = await openSlow(t, front.port, big)
    const others = [get(front.port, big), get(front.port, big)]
    await slow.readTo(MIB)
    const total = slow.drain()
    for (const answer of await Promise.all(others)) {
      t.equal(answer.broken, undefined)
      t.equal(sha256(answer.body), big.slice(-64), 'every reader has every byte')
    }
    t.ok((await total) > 40 * MIB)
    await until(() => !readdirSync(dir).some((file) => file.endsWith('.tmp')))
  }
  t.equal(cache.stats().stores, 1)
  t.ok(cache.stats().errors >= 3)
  t.match(lines, [/traffic goes on uncached.*ENOSPC/])
  t.equal(lines.length, 1, 'said once, not at every request')
  t.equal((await get(front.port, small)).headers['x-cache'], 'HIT')

  const wrong = await get(front.port, `${origin.addGenerated(20 * MIB)}?wrong`)
  t.ok(wrong.broken !== undefined && wrong.body.length < 20 * MIB, 'a wrong body is still found out')

  await until(() => remounts(dir))
  t.equal((await get(front.port, small)).headers['x-cache'], 'HIT', 'what is stored is still served')
  const unwritable = origin.addGenerated(MIB)
  t.equal(sha256((await get(front.port, unwritable)).body), unwritable.slice(-64))
  t.equal(front.outcomes.at(-1)?.kind, 'relay')
  execFileSync('mount', ['-o', 'remount,rw', dir])
  await get(front.port, unwritable)
  await until(() => cache.stats().stores === 2)

  await cache.close()
  await front.close()
  unmount()
})

t.test('many readers that stall hold no memory to speak of', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const dir = t.testdir()
  const child = await startCacheProcess(t, dir, origin.port)
  const path = origin.addGenerated(256 * MIB)
  const first = await openSlow(t, child.port, path)
  const followers = await Promise.all(Array.from({ length: 8 }, () => openSlow(t, child.port, path)))
  const fetched = first.drain()
  await Promise.all(followers.map((follower) => follower.readTo(MIB)))
  t.ok((await fetched) > 256 * MIB)
  const after = await child.rss()
  t.comment(`after a fill with 8 stalled followers: ${Math.round(after / MIB)} MiB`)
  const readers = await Promise.all(Array.from({ length: 16 }, () => openSlow(t, child.port, path)))
  await Promise.all(readers.map((reader) => reader.readTo(MIB)))
  await Promise.all(readers.slice(0, 4).map((reader) => reader.readTo(64 * MIB)))
  const during = await child.rss()
  t.comment(`with 24 stalled readers: ${Math.round(during / MIB)} MiB`)
  t.ok(after < 180 * MIB)
  t.ok(during < 200 * MIB)
  for (const reader of [...readers, ...followers.slice(1)]) reader.leave()
  t.ok((await followers[0]?.drain()) ?? 0 > 256 * MIB, 'and can still read on')
  await child.kill()
})
