import { LRUCache } from 'lru-cache'
import { CorruptEntryError } from '../contract/errors.js'
import type { EntryMeta, Saying } from '../entry/meta.js'
import { presented } from '../entry/sayings.js'
import type { StoredEntry } from '../entry/stored-entry.js'
import { fixedHead } from '../entry/stored-headers.js'

/**
 * Manifests and image configurations have a few KiB, indexes of large images 100. What is larger is bound by its
 * bytes rather than by the four files operations that a hit on disk costs twice.
 */
const MAX_BODY_BYTES = 256 * 1024

/** 50,000 held entries without body and headers took 830 bytes of heap each; their buffers' own management comes on top. */
const ENTRY_OVERHEAD_BYTES = 1024

/** What was seen on disk since an entry last changed; shared by all who look at the same time. */
interface Look {
  readonly name: string
  lookers: number
}

/** Copies of small entries, most recently used ones, so that a hit on them touches no file. */
export class SmallEntries {
  readonly #held: LRUCache<string, StoredEntry>
  /** Looks that are under way; taken away from here as soon as they may have seen what is no more. */
  readonly #looks = new Map<string, Look>()
  #maxBytes: number

  /** @param maxBytes of memory; 0 holds nothing. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
    this.#held = new LRUCache<string, StoredEntry>({
      // Ours may change while it runs, the one of lru-cache cannot.
      maxSize: Number.MAX_SAFE_INTEGER,
      sizeCalculation: ({ meta }) => meta.size + textBytes(meta) + ENTRY_OVERHEAD_BYTES,
    })
  }

  /** Of memory, in use. */
  get bytes(): number {
    return this.#held.calculatedSize
  }

  get(name: string): StoredEntry | undefined {
    return this.#held.get(name)
  }

  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes
    this.#trim()
  }

  /** To be called before the disk is looked at; `endLook` afterwards in every case. */
  beginLook(name: string): Look {
    const look = this.#looks.get(name) ?? { name, lookers: 0 }
    look.lookers += 1
    this.#looks.set(name, look)
    return look
  }

  endLook(look: Look): void {
    look.lookers -= 1
    if (look.lookers === 0 && this.#looks.get(look.name) === look) this.#looks.delete(look.name)
  }

  /**
   * Resolves with a copy of an entry that was just opened, or with the entry itself where it is not small. The
   * copy is held unless the entry has changed since the look began.
   *
   * @throws CorruptEntryError or the system's error; the entry is still open then.
   */
  async copy(look: Look, entry: StoredEntry): Promise<StoredEntry> {
    const { size } = entry.meta
    if (size > MAX_BODY_BYTES || size > this.#maxBytes) return entry
    const bytes = Buffer.allocUnsafeSlow(size)
    for (let position = 0; position < size;) {
      const length = await entry.body.read(bytes.subarray(position), position)
      if (length === 0)
        throw new CorruptEntryError(look.name, `its body ends after ${position} of ${size} bytes`)
      position += length
    }
    await entry.body.close()
    const copy = copyOf(entry, bytes)
    if (this.#looks.get(look.name) === look) {
      this.#held.set(look.name, copy)
      this.#trim()
    }
    return copy
  }

  /** The entry is another one now, or none. */
  drop(name: string): void {
    this.#held.delete(name)
    this.#looks.delete(name)
  }

  #trim(): void {
    while (this.#held.calculatedSize > this.#maxBytes) this.#held.pop()
  }
}

function copyOf(entry: StoredEntry, bytes: Buffer): StoredEntry {
  const { meta } = entry
  const copy = { ...entry, body: heldBody(bytes), head: fixedHead(meta) }
  if (meta.others.length === 0) return copy
  const elsewhere = new Map(
    meta.others.map((saying) => {
      const there = presented(meta, saying)
      return [saying.place, { meta: there, head: fixedHead(there) }] as const
    }),
  )
  return { ...copy, elsewhere }
}

function heldBody(bytes: Buffer): StoredEntry['body'] {
  return {
    held: bytes,
    read: (into, position) => Promise.resolve(bytes.copy(into, 0, position)),
    close: () => Promise.resolve(),
  }
}

/** Header lines are Latin-1, one byte a character; keys may not be, which is rare and a factor of two. */
function textBytes({ key, digest, others, ...first }: EntryMeta): number {
  return [first, ...others].reduce((sum, saying) => sum + sayingBytes(saying), key.length + digest.length)
}

/** Twice, for the head is made of it. */
function sayingBytes({ place, headers, access }: Saying): number {
  return 2 * headers.reduce((sum, text) => sum + text.length, place.length + access.length)
}
