import type { BufferPool } from '../body/buffer-pool.js'
import { CorruptEntryError } from '../contract/errors.js'
import { fileDigest } from './file-digest.js'
import type { Store } from './store.js'
import type { StoredEntry } from '../entry/stored-entry.js'

interface EpochChecksOptions {
  readonly store: Store
  /** Entries of another epoch are checked before they are first served. */
  readonly epoch: string
  readonly buffers: BufferPool
}

/** Checks entries of which a crash may have kept a part only, or whose body was written to since, once each. */
export class EpochChecks {
  readonly #options: EpochChecksOptions
  readonly #running = new Map<string, Promise<void>>()

  constructor(options: EpochChecksOptions) {
    this.#options = options
  }

  /** @throws CorruptEntryError, or the system's error, when the body is not what it was. */
  async ensure(name: string, entry: StoredEntry): Promise<void> {
    const { meta, bodyMark } = entry
    if (meta.epoch === this.#options.epoch && meta.bodyMark === bodyMark) return
    const running = this.#running.get(name)
    if (running !== undefined) return running
    const check = this.#check(name, entry).finally(() => this.#running.delete(name))
    this.#running.set(name, check)
    await check
  }

  async #check(name: string, { meta, body, bodyMark, lastUsedAt }: StoredEntry): Promise<void> {
    const { store, buffers, epoch } = this.#options
    await assertDigest(name, meta, body, buffers)
    // Where this cannot be written, the next reader checks again.
    await store.replaceMeta(name, { ...meta, bodyMark, epoch }, lastUsedAt).catch(() => undefined)
  }
}

/** @throws CorruptEntryError, or the system's error, when the body is not what its meta says. */
export async function assertDigest(
  name: string,
  meta: StoredEntry['meta'],
  body: StoredEntry['body'],
  buffers: BufferPool,
  pause?: (bytes: number) => Promise<void>,
): Promise<void> {
  const [algorithm = ''] = meta.digest.split(':', 1)
  const digest = await fileDigest(body, meta.size, algorithm, buffers, pause)
  if (digest !== meta.digest) throw new CorruptEntryError(name, `its body is ${digest}, not ${meta.digest}`)
}
