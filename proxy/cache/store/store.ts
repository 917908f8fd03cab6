import { randomBytes } from 'node:crypto'
import { rename, rm, stat, unlink, utimes, writeFile, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, reasonOf } from '../../../base/errors.js'
import { CorruptEntryError } from '../contract/errors.js'
import { META_SUFFIX, temporaryName } from '../entry/file-names.js'
import { MAX_META_BYTES, parseMeta, serializeMeta, type EntryMeta } from '../entry/meta.js'
import { openRegularFile } from './regular-file.js'
import { fileBody, footprintOf, markOf, type Description, type StoredEntry } from '../entry/stored-entry.js'
import { sweep, type Swept } from './sweep.js'
import { TempBody, type Claim } from '../body/temp-body.js'

/** An entry that is removed and made anew under every look is as good as absent. */
const MAX_LOOKS = 5

interface Lookup {
  disturbed: boolean
}

/** The files of a cache directory. Knows nothing of HTTP, nor of which entries are worth keeping. */
export class Store {
  readonly #dir: string
  readonly #run = randomBytes(6).toString('hex')
  #temporaries = 0
  readonly #removals = new Map<string, Promise<void>>()
  /** Lookups under way, so that each learns of a removal of its entry between its two files. */
  readonly #lookups = new Map<string, Set<Lookup>>()
  readonly #claim: Claim

  /** @param claim asked before any of a body is written. */
  constructor(dir: string, claim: Claim) {
    this.#dir = dir
    this.#claim = claim
  }

  /** A new empty file for the body of entry `name`. @throws the system's error. */
  createTemp(name: string): Promise<TempBody> {
    return TempBody.create(this.#temporary(join(this.#dir, name)), this.#claim)
  }

  /**
   * Makes an entry of a complete body; resolves with its bytes on disk. Neither file is synced: entries whose
   * machine went down are found by their epoch and checked (see `lock.ts`).
   *
   * @throws the system's error; nothing is left behind then.
   */
  async commit(name: string, body: TempBody, meta: EntryMeta): Promise<number> {
    await this.#removals.get(name)
    const path = join(this.#dir, name)
    try {
      const bodyMark = markOf(await stat(body.path, { bigint: true }))
      return await this.replaceMeta(name, { ...meta, bodyMark }, meta.storedAt, async () => {
        // An old entry that nobody knew of must not lend its meta to the new body.
        if (await removeFile(path + META_SUFFIX)) this.#disturb(name)
        await rename(body.path, path)
      })
    } catch (error) {
      await Promise.allSettled([rm(body.path, { force: true }), rm(path, { force: true })])
      throw error
    }
  }

  /**
   * Writes an entry's meta anew; `prepare` runs when only the last rename is left to do.
   *
   * @throws the system's error; the old meta stands then.
   */
  async replaceMeta(
    name: string,
    meta: EntryMeta,
    usedAtMs: number,
    prepare?: () => Promise<void>,
  ): Promise<number> {
    const path = join(this.#dir, name + META_SUFFIX)
    const temporary = this.#temporary(path)
    const text = serializeMeta(meta)
    try {
      await writeFile(temporary, text, { flag: 'wx', mode: 0o600 })
      await utimes(temporary, usedAtMs / 1000, usedAtMs / 1000)
      await prepare?.()
      await rename(temporary, path)
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined)
      throw error
    }
    return footprintOf(meta.size, Buffer.byteLength(text))
  }

  /**
   * Opens entry `name`, whose key must be `key` where it is given; the caller closes the body.
   *
   * @throws CorruptEntryError when what is there cannot be served.
   */
  async open(name: string, key?: string): Promise<StoredEntry | undefined> {
    for (let look = 0; look < MAX_LOOKS && !this.#removals.has(name); look += 1) {
      const lookup: Lookup = { disturbed: false }
      const lookups = this.#lookups.get(name) ?? new Set()
      this.#lookups.set(name, lookups.add(lookup))
      try {
        const entry = await this.#open(name, key)
        if (!lookup.disturbed || entry === undefined) return entry
        // The meta may be of one entry and the body of its successor.
        await entry.body.close()
      } catch (error) {
        if (!lookup.disturbed) throw error
      } finally {
        lookups.delete(lookup)
        if (lookups.size === 0) this.#lookups.delete(name)
      }
    }
    return undefined
  }

  #disturb(name: string): void {
    for (const lookup of this.#lookups.get(name) ?? []) lookup.disturbed = true
  }

  async #open(name: string, key: string | undefined): Promise<StoredEntry | undefined> {
    let body: FileHandle | undefined
    try {
      const found = await this.#readMeta(name)
      if (found === undefined) return undefined
      const meta = parseMeta(found.text)
      if (meta === undefined) throw new CorruptEntryError(name, 'its meta makes no sense')
      if (key !== undefined && meta.key !== key)
        throw new CorruptEntryError(name, 'its meta is of another key')
      body = await openRegularFile(join(this.#dir, name))
      if (body === undefined) throw new CorruptEntryError(name, 'its body is no file')
      const status = await body.stat({ bigint: true })
      const size = Number(status.size)
      if (size !== meta.size) {
        throw new CorruptEntryError(name, `its body has ${size} bytes, its meta says ${meta.size}`)
      }
      const footprint = footprintOf(size, found.length)
      return {
        meta,
        body: fileBody(body, status),
        bodyMark: markOf(status),
        footprint,
        lastUsedAt: found.lastUsedAt,
      }
    } catch (error) {
      await body?.close()
      if (error instanceof CorruptEntryError) throw error
      throw new CorruptEntryError(name, reasonOf(error), { cause: error })
    }
  }

  async #readMeta(name: string): Promise<{ text: string; length: number; lastUsedAt: number } | undefined> {
    let file: FileHandle | undefined
    try {
      file = await openRegularFile(join(this.#dir, name + META_SUFFIX))
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      throw error
    }
    if (file === undefined) throw new CorruptEntryError(name, 'its meta is no file')
    try {
      const { size, mtimeMs } = await file.stat()
      if (size > MAX_META_BYTES) throw new CorruptEntryError(name, `its meta has ${size} bytes`)
      const bytes = await file.readFile()
      return { text: bytes.toString(), length: bytes.length, lastUsedAt: mtimeMs }
    } finally {
      await file.close()
    }
  }

  /** Removes both files, meta first; those who read the body keep it. @throws the system's error. */
  remove(name: string): Promise<void> {
    const running = this.#removals.get(name)
    if (running !== undefined) return running
    this.#disturb(name)
    const removal = this.#remove(name).finally(() => this.#removals.delete(name))
    this.#removals.set(name, removal)
    return removal
  }

  async #remove(name: string): Promise<void> {
    await removeFile(join(this.#dir, name + META_SUFFIX))
    await removeFile(join(this.#dir, name))
  }

  /** Remembers on disk when the entry was used, for the order after a restart. @throws the system's error. */
  async touch(name: string, atMs: number): Promise<void> {
    await utimes(join(this.#dir, name + META_SUFFIX), atMs / 1000, atMs / 1000)
  }

  /**
   * What an entry is, without looking at its body; undefined when it is gone.
   *
   * @throws CorruptEntryError or the system's error.
   */
  async describe(name: string): Promise<Description | undefined> {
    const found = await this.#readMeta(name)
    if (found === undefined) return undefined
    const meta = parseMeta(found.text)
    if (meta === undefined) throw new CorruptEntryError(name, 'its meta makes no sense')
    return { meta, footprint: footprintOf(meta.size, found.length), lastUsedAt: found.lastUsedAt }
  }

  /** Collects what earlier runs left and names the entries. @throws the system's error. */
  sweep(): Promise<Swept> {
    return sweep(this.#dir, this.#run)
  }

  #temporary(path: string): string {
    this.#temporaries += 1
    return temporaryName(path, this.#run, this.#temporaries)
  }
}

/** Resolves with whether there was one. */
async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path)
    return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
}
