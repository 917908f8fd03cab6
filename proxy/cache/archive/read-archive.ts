import { createHash } from 'node:crypto'
import { type Readable } from 'node:stream'
import { extract, type Entry } from 'tar-stream'
import { reasonOf } from '../../../base/errors.js'
import { ArchiveError } from '../contract/errors.js'
import { cacheFile } from '../entry/file-names.js'
import { isKeyOf } from '../rules/key.js'
import { isOutdated, MAX_META_BYTES, parseMeta, type EntryMeta } from '../entry/meta.js'
import type { TempBody } from '../body/temp-body.js'

// tar → meta, then body → hash → temporary file → entry

/** Of damaged entries, how many are named. */
const MAX_NAMED = 20

export interface ArchiveTarget {
  has(name: string): boolean
  /** Bytes; a larger body could not stay. */
  readonly maxBodyBytes: number
  /** @throws the system's error. */
  createTemp(name: string): Promise<TempBody>
  /** @throws the system's error. */
  keep(name: string, body: TempBody, meta: EntryMeta): Promise<void>
}

export interface ImportReport {
  /** Entries that are new. */
  readonly entries: number
  /** Of their bodies. */
  readonly bytes: number
  /** Entries that were there already. */
  readonly present: number
  /** Entries larger than the store may be. */
  readonly too_large: number
  /** Entries of an earlier version that cannot be taken over: what their URL names is fetched anew. */
  readonly outdated: number
  /** Entries whose body is not what it should be; none of them was taken. */
  readonly damaged: number
  /** The first of those, by their keys. */
  readonly damaged_keys: readonly string[]
}

/**
 * Takes the entries of a tar into a store. Each body is checked against its digest before there is an entry, and the
 * digest against the key where that promises one. What was taken before an error stays.
 *
 * @throws ArchiveError for what is no archive of a store, or the system's error.
 */
export async function readArchive(archive: Readable, target: ArchiveTarget): Promise<ImportReport> {
  const unpacked = extract()
  let broken: Error | undefined
  unpacked.on('error', (error: Error) => (broken = error))
  archive.on('error', (error: Error) => unpacked.destroy(error))
  // A tar that breaks off between two of its blocks ends without a complaint of the unpacker's.
  archive.once('close', () => {
    if (!archive.readableEnded) unpacked.destroy(new Error('it broke off'))
  })
  archive.pipe(unpacked)
  try {
    return await takeAll(unpacked as AsyncIterable<Entry>, target)
  } catch (error) {
    if (error !== broken) throw error
    throw new ArchiveError(`cannot import: it is no whole tar archive (${reasonOf(error)})`, { cause: error })
  } finally {
    archive.unpipe(unpacked)
    unpacked.destroy()
  }
}

async function takeAll(entries: AsyncIterable<Entry>, target: ArchiveTarget): Promise<ImportReport> {
  const taken = { entries: 0, bytes: 0, present: 0, too_large: 0, outdated: 0, damaged: 0 }
  const damagedKeys: string[] = []
  let awaited: Awaited | undefined
  for await (const entry of entries) {
    const file = fileIn(entry)
    if (file === undefined) {
      entry.resume()
      continue
    }
    if (file.kind === 'meta') {
      if (awaited !== undefined)
        throw new ArchiveError(`cannot import: the body of ${awaited.name} is missing`)
      awaited = { name: file.name, meta: await readMeta(file.name, entry) }
      continue
    }
    if (awaited?.name === file.name && awaited.meta === 'outdated') {
      awaited = undefined
      taken.outdated += 1
      entry.resume()
      continue
    }
    const meta = awaited?.name === file.name ? awaited.meta : undefined
    if (meta === undefined || meta === 'outdated')
      throw new ArchiveError(`cannot import: ${file.name} does not come after its meta`)
    awaited = undefined
    if (entry.header.size !== meta.size) {
      throw new ArchiveError(
        `cannot import: ${file.name} has ${entry.header.size ?? 0} bytes, its meta says ${meta.size}`,
      )
    }
    switch (await take(file.name, meta, entry, target)) {
      case 'new':
        taken.entries += 1
        taken.bytes += meta.size
        break
      case 'present':
        taken.present += 1
        break
      case 'too large':
        taken.too_large += 1
        break
      case 'damaged':
        taken.damaged += 1
        if (damagedKeys.length < MAX_NAMED) damagedKeys.push(meta.key)
    }
  }
  if (awaited !== undefined) throw new ArchiveError(`cannot import: the body of ${awaited.name} is missing`)
  return { ...taken, damaged_keys: damagedKeys }
}

interface Awaited {
  readonly name: string
  readonly meta: EntryMeta | 'outdated'
}

/** Undefined for a folder. @throws ArchiveError for all that is not a file of a store. */
function fileIn({
  header: { name, type },
}: Entry): { readonly kind: 'meta' | 'body'; readonly name: string } | undefined {
  if (type === 'directory' && /^\.?\/?$/.test(name)) return undefined
  const file = type === 'file' ? cacheFile(name.replace(/^\.\//, '')) : undefined
  if (file === undefined || file.kind === 'temporary') {
    throw new ArchiveError(
      `cannot import: ${JSON.stringify(name.slice(0, 200))} (${type ?? 'unknown'}) is no file of a cache`,
    )
  }
  return file
}

async function readMeta(name: string, entry: Entry): Promise<EntryMeta | 'outdated'> {
  const { size = 0 } = entry.header
  if (size > MAX_META_BYTES) throw new ArchiveError(`cannot import: the meta of ${name} has ${size} bytes`)
  const pieces: Buffer[] = []
  for await (const piece of entry) pieces.push(piece)
  const text = Buffer.concat(pieces).toString()
  if (isOutdated(text)) return 'outdated'
  const meta = parseMeta(text)
  if (meta === undefined) throw new ArchiveError(`cannot import: the meta of ${name} makes no sense`)
  if (!isKeyOf(meta.key, name, meta.digest)) {
    throw new ArchiveError(`cannot import: the meta of ${name} is of another entry`)
  }
  return meta
}

async function take(
  name: string,
  meta: EntryMeta,
  entry: Entry,
  target: ArchiveTarget,
): Promise<'new' | 'present' | 'too large' | 'damaged'> {
  const skipped = target.has(name) ? 'present' : meta.size > target.maxBodyBytes ? 'too large' : undefined
  if (skipped !== undefined) {
    entry.resume()
    return skipped
  }
  const temp = await target.createTemp(name)
  let kept = false
  try {
    const [algorithm = ''] = meta.digest.split(':', 1)
    const hash = createHash(algorithm)
    let position = 0
    for await (const piece of entry as AsyncIterable<Buffer>) {
      hash.update(piece)
      for (let rest = piece; rest.length > 0;) {
        const written = await temp.write([rest], position)
        position += written
        rest = rest.subarray(written)
      }
    }
    if (`${algorithm}:${hash.digest('hex')}` !== meta.digest) return 'damaged'
    await target.keep(name, temp, meta)
    kept = true
    return 'new'
  } finally {
    if (!kept) await temp.unlink()
    await temp.close()
  }
}
