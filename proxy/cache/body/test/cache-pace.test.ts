// Promise: a client that does not keep up holds a small piece of a body in memory; one that does gets large ones.
import t from 'tap'
import { LARGE_PIECE_BYTES, Pace, SMALL_PIECE_BYTES } from '../pace.js'
import { get, openSlow, startCached, until } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'

const MIB = 1024 * 1024
/** Of the framing around one piece, and the head. */
const FRAMING_BYTES = 2048

t.test('pieces are large once 6 MiB were taken quickly, and small again after one that was not', (t) => {
  const pace = new Pace()
  t.equal(pace.piece, SMALL_PIECE_BYTES)
  for (let taken = 0; taken < 6 * MIB; taken += SMALL_PIECE_BYTES) {
    t.equal(pace.piece, SMALL_PIECE_BYTES)
    pace.took(SMALL_PIECE_BYTES, 5)
  }
  t.equal(pace.piece, LARGE_PIECE_BYTES)
  pace.took(LARGE_PIECE_BYTES, 40)
  t.equal(pace.piece, LARGE_PIECE_BYTES, 'longer, but for more bytes')
  pace.took(SMALL_PIECE_BYTES, 100)
  t.equal(pace.piece, SMALL_PIECE_BYTES)
  t.end()
})

t.test('each of 32 clients that stopped reading holds one small piece, cold and warm', async (t) => {
  const origin = await MisbehavingOrigin.start(t)
  const { cache, front } = await startCached(t, origin.port)
  const path = origin.addGenerated(48 * MIB)
  for (const what of ['cold', 'warm']) {
    const slow = await Promise.all(Array.from({ length: 32 }, () => openSlow(t, front.port, path)))
    await Promise.all(slow.map((client) => client.readTo(1)))
    await until(() => cache.stats().stores === 1)
    await until(() => front.waiting().filter((bytes) => bytes > 0).length === 32)
    const most = Math.max(...front.waiting())
    t.ok(most <= SMALL_PIECE_BYTES + FRAMING_BYTES, `${what}: ${most} bytes`)
    for (const client of slow) client.leave()
    await until(() => front.waiting().length === 0)
  }
  t.equal((await get(front.port, path)).body.length, 48 * MIB)
})
