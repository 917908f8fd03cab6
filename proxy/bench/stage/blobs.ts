import { createHash, randomFillSync } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename } from 'node:fs/promises'
import { join } from 'node:path'

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

/** Written at once; divides every size above a MiB that is asked for. */
const PIECE_BYTES = 8 * MIB

export interface Blob {
  readonly digest: string
  readonly size: number
  /** What a registry client asks for. */
  readonly path: string
}

/** Files named by their digest, of random bytes: no two are the same, so each is a miss once. */
export class Blobs {
  readonly folder: string
  #made = 0

  constructor(folder: string) {
    this.folder = folder
  }

  async random(size: number): Promise<Blob> {
    await mkdir(this.folder, { recursive: true })
    const temporary = this.#temporary()
    const hash = createHash('sha256')
    const piece = Buffer.allocUnsafe(Math.min(size, PIECE_BYTES))
    const file = await open(temporary, 'wx', 0o644)
    try {
      for (let left = size; left > 0; left -= piece.length) {
        const part = randomFillSync(piece).subarray(0, left)
        hash.update(part)
        await file.writeFile(part)
      }
    } finally {
      await file.close()
    }
    return this.#named(temporary, hash.digest('hex'), size)
  }

  /** A file of `size` bytes that are nearly all holes, so that it takes no room on the disk. */
  async sparse(size: number): Promise<Blob> {
    await mkdir(this.folder, { recursive: true })
    const temporary = this.#temporary()
    const file = await open(temporary, 'wx', 0o644)
    try {
      await file.truncate(size)
      await file.write(randomFillSync(Buffer.alloc(32)), 0, 32, 0)
    } finally {
      await file.close()
    }
    const hash = createHash('sha256')
    for await (const piece of createReadStream(temporary, { highWaterMark: MIB }))
      hash.update(piece as Buffer)
    return this.#named(temporary, hash.digest('hex'), size)
  }

  #temporary(): string {
    this.#made += 1
    return join(this.folder, `making-${this.#made}`)
  }

  async #named(temporary: string, hex: string, size: number): Promise<Blob> {
    const digest = `sha256:${hex}`
    await rename(temporary, join(this.folder, digest))
    return { digest, size, path: `/v2/bench/blobs/${digest}` }
  }
}
