import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Keeps the heap's young generation at the 1 MiB it begins with. V8 lets it grow to 3 × 16 MiB while much is
 * thrown away, as in sweeps over thousands of orphans or in bodies that go through, and hardly gives it back. Process 1
 * grew from 67 to 78 MB resident in 20 rounds of 1,000 orphans, with this from 64 to 67; the proxy to 206–224 MB in
 * its benchmark's slow readers, with this to 169–177; both in the same time (Node 20). `--max-semi-space-size` is read
 * before any of our code runs; the growth factor is read each time.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
}

const LOOK_MS = 1_000
const GROWN_BYTES = 1024 * 1024
/** Old enough for V8 to throw away what it has compiled and nobody has run since, which is most of what a start ran. */
const FIRST_COLLECTIONS = 8

/**
 * Gives back what a start, and later a burst of work, has left behind: V8 by itself would look much later. Looks once a
 * second; a collection takes some 15 ms, and there is none where nothing has grown.
 */
export function giveMemoryBack(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('globalThis.gc') as ((options?: object) => void) | undefined
  setFlagsFromString('--no-expose-gc')
  if (collect === undefined) return
  let first = FIRST_COLLECTIONS
  let settled = 0
  setInterval(() => {
    first -= 1
    if (first < 0 && process.memoryUsage.rss() - settled < GROWN_BYTES) return
    collect()
    // From Node 22 on the plain call keeps 5 MiB that this one gives back; Node 20 knows no such thing and does little.
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    settled = process.memoryUsage.rss()
  }, LOOK_MS).unref()
}
