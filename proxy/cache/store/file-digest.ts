import { createHash } from 'node:crypto'
import type { BufferPool } from '../body/buffer-pool.js'
import type { StoredBody } from '../entry/stored-entry.js'

/**
 * `algorithm:hex` of a whole body. A mebibyte holds up the event loop for about a millisecond; between two there
 * is always a read.
 *
 * @param pause awaited after each piece; for a check that must not be in anybody's way.
 * @throws the system's error, and what `pause` throws.
 */
export async function fileDigest(
  body: StoredBody,
  size: number,
  algorithm: string,
  buffers: BufferPool,
  pause?: (bytes: number) => Promise<void>,
): Promise<string> {
  const hash = createHash(algorithm)
  const lent = buffers.lend(size)
  try {
    for (let position = 0; ;) {
      const length = await body.read(lent.bytes, position)
      if (length === 0) break
      hash.update(lent.bytes.subarray(0, length))
      position += length
      await pause?.(length)
    }
  } finally {
    lent.giveBack()
  }
  return `${algorithm}:${hash.digest('hex')}`
}
