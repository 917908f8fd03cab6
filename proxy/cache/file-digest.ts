import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import type { BufferPool } from './buffer-pool.js'

/**
 * `algorithm:hex` of a whole file. A mebibyte holds up the event loop for about a millisecond; between two there
 * is always a read.
 *
 * @throws the system's error.
 */
export async function fileDigest(
  file: FileHandle,
  size: number,
  algorithm: string,
  buffers: BufferPool,
): Promise<string> {
  const hash = createHash(algorithm)
  const lent = buffers.lend(size)
  try {
    for (let position = 0; ;) {
      const { bytesRead } = await file.read(lent.bytes, 0, lent.bytes.length, position)
      if (bytesRead === 0) break
      hash.update(lent.bytes.subarray(0, bytesRead))
      position += bytesRead
    }
  } finally {
    lent.giveBack()
  }
  return `${algorithm}:${hash.digest('hex')}`
}
