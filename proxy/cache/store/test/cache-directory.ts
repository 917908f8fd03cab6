import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

const BLOCK_BYTES = 4096

/** What lies in a cache directory, read with nothing of the cache's own. */
interface CacheDirectory {
  /** Names of entries with both files. */
  readonly entries: readonly string[]
  /** Files that belong to no entry, the lock aside. */
  readonly strays: readonly string[]
  /** Of all files but the lock, in whole blocks. */
  readonly bytes: number
}

export function cacheDirectory(dir: string): CacheDirectory {
  const files = readdirSync(dir).filter((file) => file !== 'lock')
  const bodies = files.filter((file) => /^[0-9a-f]{64}$/.test(file))
  const entries = bodies.filter((file) => files.includes(`${file}.meta`))
  const belongs = new Set(entries.flatMap((name) => [name, `${name}.meta`]))
  // What has been removed since it was listed takes no room.
  const lengthOf = (file: string): number => statSync(join(dir, file), { throwIfNoEntry: false })?.size ?? 0
  const blocks = (file: string): number => Math.ceil(lengthOf(file) / BLOCK_BYTES)
  return {
    entries,
    strays: files.filter((file) => !belongs.has(file)),
    bytes: files.reduce((sum, file) => sum + blocks(file), 0) * BLOCK_BYTES,
  }
}

/** Whose body is not what its meta says, or not what its URL names. */
export function wrongEntries(dir: string, names: readonly string[]): readonly string[] {
  return names.filter((name) => {
    const body = readFileSync(join(dir, name))
    const { key, digest, size } = JSON.parse(readFileSync(join(dir, `${name}.meta`), 'utf8')) as {
      key: string
      digest: string
      size: number
    }
    const hex = createHash('sha256').update(body).digest('hex')
    return digest !== `sha256:${hex}` || size !== body.length || !key.includes(hex)
  })
}
