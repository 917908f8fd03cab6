import { Readable } from 'node:stream'
import { pack } from 'tar-stream'
import { META_SUFFIX } from '../entry/file-names.js'
import { serializeMeta } from '../entry/meta.js'
import type { StoredEntry } from '../entry/stored-entry.js'

// store → tar: for each entry, in the order of the names, <name>.meta and <name>

/** As much as one piece of a pipe between programs; the tar is not read faster than that. */
const PIECE_BYTES = 256 * 1024
/** As in the store: nobody else's business. */
const MODE = 0o600

export interface ArchiveSource {
  /** Of all entries. */
  readonly names: readonly string[]
  /** Undefined for one that is gone. @throws CorruptEntryError */
  open(name: string): Promise<StoredEntry | undefined>
  /** Whether entries of that rule are wanted. */
  wants(rule: string): boolean
  /** An entry that cannot be read is left out. */
  onUnreadable(name: string, error: unknown): void
}

/**
 * A tar of a store (POSIX.1-2001 pax, for bodies beyond 8 GiB). Two stores with the same entries give the same
 * archive. A body that cannot be read to its end ends the stream in an error: what follows would not be a tar.
 */
export function writeArchive(source: ArchiveSource): Readable {
  const archive = pack()
  const output = Readable.from(archive, { objectMode: false })
  // Leaving in the middle ends what waits for a reader.
  output.once('close', () => archive.destroy())
  addAll(source, archive).then(
    () => archive.finalize(),
    (error: unknown) => archive.destroy(error instanceof Error ? error : new Error(String(error))),
  )
  return output
}

async function addAll(source: ArchiveSource, archive: ReturnType<typeof pack>): Promise<void> {
  for (const name of [...source.names].sort()) {
    let entry: StoredEntry | undefined
    try {
      entry = await source.open(name)
    } catch (error) {
      source.onUnreadable(name, error)
    }
    if (entry === undefined) continue
    try {
      if (source.wants(entry.meta.rule)) await addEntry(name, entry, archive)
    } finally {
      await entry.body.close()
    }
  }
}

async function addEntry(
  name: string,
  { meta, body }: StoredEntry,
  archive: ReturnType<typeof pack>,
): Promise<void> {
  const mtime = new Date(meta.storedAt)
  // When this store last looked at it, and in which file, says nothing to another.
  const { bodyMark: _bodyMark, ...told } = meta
  const text = serializeMeta({ ...told, epoch: '' })
  const header = { mode: MODE, mtime, uid: 0, gid: 0 }
  await new Promise<void>((resolve, reject) => {
    archive.entry({ ...header, name: name + META_SUFFIX }, text, (error) =>
      error === null || error === undefined ? resolve() : reject(error),
    )
  })
  await new Promise<void>((resolve, reject) => {
    const sink = archive.entry({ ...header, name, size: meta.size }, (error) =>
      error === null || error === undefined ? resolve() : reject(error),
    )
    const copy = async (): Promise<void> => {
      for (let position = 0; position < meta.size;) {
        const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, meta.size - position))
        const length = await body.read(piece, position)
        if (length === 0) throw new Error(`the body of ${name} ends after ${position} of ${meta.size} bytes`)
        position += length
        if (!sink.write(piece.subarray(0, length)))
          await new Promise((drained) => sink.once('drain', drained))
      }
      sink.end()
    }
    copy().catch(reject)
  })
}
