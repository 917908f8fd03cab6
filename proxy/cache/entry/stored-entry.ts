import type { BigIntStats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import type { EntryMeta } from './meta.js'
import { metaAt } from './sayings.js'

/**
 * Sizes are counted in whole blocks of what nearly every file system uses, computed from lengths: the block
 * count of stat differs before and after write-back, and then sizes counted on write and on reload would too.
 */
const BLOCK_BYTES = 4096

/** An entry opened for reading; it stays readable when it is removed meanwhile. */
export interface StoredEntry {
  readonly meta: EntryMeta
  readonly body: StoredBody
  /** What of the head is always the same, where that is known already. */
  readonly head?: readonly string[]
  /** Place → the same in its words, where those are made already. */
  readonly elsewhere?: ReadonlyMap<string, Pick<StoredEntry, 'meta' | 'head'>>
  /** Differs from that of its meta when something was done to the body since. */
  readonly bodyMark: string
  /** Bytes on disk. */
  readonly footprint: number
  /** As the disk has it: milliseconds since 1970. */
  lastUsedAt: number
}

/** An entry in the words of one place; undefined where that has said nothing of it. */
export function entryAt(entry: StoredEntry, place: string): StoredEntry | undefined {
  if (entry.meta.place === place) return entry
  if (entry.elsewhere !== undefined) {
    const there = entry.elsewhere.get(place)
    return there === undefined ? undefined : { ...entry, ...there }
  }
  const meta = metaAt(entry.meta, place)
  return meta === undefined ? undefined : inOtherWords(entry, meta)
}

/** The same body with another meta. */
export function inOtherWords(entry: StoredEntry, meta: EntryMeta): StoredEntry {
  const { body, bodyMark, footprint, lastUsedAt } = entry
  return { meta, body, bodyMark, footprint, lastUsedAt }
}

export interface StoredBody {
  /** All of it, where it is in memory. */
  readonly held?: Buffer
  /** Resolves with the number of bytes read, 0 past the end. @throws the system's error. */
  read(into: Buffer, position: number): Promise<number>
  close(): Promise<void>
}

/** What an entry is, without its body. */
export interface Description {
  readonly meta: EntryMeta
  /** Bytes on disk. */
  readonly footprint: number
  /** Milliseconds since 1970. */
  readonly lastUsedAt: number
}

/** @param before as it was when what is said of the body was found to hold. */
export function fileBody(file: FileHandle, before: BigIntStats): StoredBody {
  return {
    async read(into, position) {
      const { bytesRead } = await file.read(into, 0, into.length, position)
      // With the last of several pieces: since the first, much time may have passed.
      const last = position > 0 && BigInt(position + bytesRead) === before.size
      if (last && markOf(await file.stat({ bigint: true })) !== markOf(before)) {
        throw new Error('its body was written to while it was read')
      }
      return bytesRead
    },
    close: () => file.close(),
  }
}

/** Which file it is and when it was last written to: several are written within one tick of the kernel's clock. */
export function markOf({ ino, mtimeNs }: BigIntStats): string {
  return `${ino}-${mtimeNs}`
}

/** Says so when it is closed, once. */
export function closing(body: StoredBody, closed: () => void): StoredBody {
  let open = true
  return {
    ...(body.held === undefined ? {} : { held: body.held }),
    read: (into, position) => body.read(into, position),
    close: () => {
      if (open) closed()
      open = false
      return body.close()
    },
  }
}

/** Bytes on disk of an entry with files of these lengths. */
export function footprintOf(bodyBytes: number, metaBytes: number): number {
  return (Math.ceil(bodyBytes / BLOCK_BYTES) + Math.ceil(metaBytes / BLOCK_BYTES)) * BLOCK_BYTES
}
