import { constants } from 'node:fs'
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { codeOf } from '../../base/errors.js'

interface RotatingFileOptions {
  readonly path: string
  /** A file that has grown beyond it is put aside. */
  readonly maxBytes: number
  /** All in all, the one that is written included: `path`, `path.1`, `path.2`, … the older the higher. */
  readonly files: number
  /** Whose group may read it; absent means ours. */
  readonly gid?: number
  /** Milliseconds that only grow. */
  readonly now: () => number
  /** Told when lines cannot be kept, and with nothing when they can be again. */
  onTrouble(reason: string | undefined): void
}

const NEWLINE = 0x0a
/** Owner writes, group reads. */
const MODE = 0o640
/** Of a disk that is slower than who writes. */
const MAX_PENDING_BYTES = 1024 * 1024
const MAX_BATCH_BYTES = 256 * 1024
/** A disk that is full is asked again no sooner. */
const RETRY_MS = 1_000

/**
 * A file that lines are added to by whoever cannot wait for a disk. What cannot be written, or not soon enough, is
 * lost and counted; the count is the next line that can be written.
 */
export class RotatingFile {
  readonly #options: RotatingFileOptions
  #pending: string[] = []
  #pendingBytes = 0
  /** What of the lines that are being written is not yet. */
  #batch: Buffer = Buffer.alloc(0)
  #lost = 0
  #file: FileHandle | undefined
  #bytes = 0
  /** A line of which a part was written. */
  #torn = false
  #failedAt: number | undefined
  #work: Promise<void> | undefined

  constructor(options: RotatingFileOptions) {
    this.#options = options
  }

  /** A line without its newline. Returns at once and never throws. */
  append(line: string): void {
    const bytes = Buffer.byteLength(line) + 1
    const { now } = this.#options
    const failing = this.#failedAt !== undefined && now() - this.#failedAt < RETRY_MS
    if (failing || this.#pendingBytes + bytes > MAX_PENDING_BYTES) {
      this.#lost += 1
      return
    }
    this.#pending.push(`${line}\n`)
    this.#pendingBytes += bytes
    this.#work ??= this.#write().finally(() => (this.#work = undefined))
  }

  /** Resolves when all that was added is written or lost, and the file closed. */
  async close(): Promise<void> {
    await this.#work
    await this.#letGo()
  }

  async #write(): Promise<void> {
    while (this.#pending.length > 0) {
      this.#batch = this.#takeBatch()
      try {
        await this.#writeOut()
        if (this.#failedAt !== undefined) this.#options.onTrouble(undefined)
        this.#failedAt = undefined
      } catch (error) {
        this.#lost += newlines(this.#batch) + this.#pending.length
        this.#pending = []
        this.#pendingBytes = 0
        this.#failedAt = this.#options.now()
        this.#options.onTrouble(codeOf(error) ?? String(error))
        await this.#letGo()
      }
    }
  }

  async #writeOut(): Promise<void> {
    if (this.#bytes > this.#options.maxBytes) await this.#rotate()
    this.#file ??= await this.#open()
    const before = `${this.#torn ? '\n' : ''}${this.#lost === 0 ? '' : `… ${this.#lost} lines were lost here\n`}`
    if (before !== '') {
      await this.#file.write(before)
      this.#lost = 0
    }
    while (this.#batch.length > 0) {
      const { bytesWritten } = await this.#file.write(this.#batch)
      this.#torn = this.#batch[bytesWritten - 1] !== NEWLINE
      this.#batch = this.#batch.subarray(bytesWritten)
      this.#bytes += bytesWritten
    }
  }

  /** A link is not followed: in a folder that somebody else has written to, it could lead anywhere. */
  async #open(): Promise<FileHandle> {
    const { path, gid } = this.#options
    const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = constants
    const file = await open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, MODE)
    try {
      const stat = await file.stat()
      if (!stat.isFile()) throw new Error('it is no file')
      if (gid !== undefined && stat.gid !== gid) await file.chown(stat.uid, gid)
      this.#bytes = stat.size
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async #rotate(): Promise<void> {
    const { path, files } = this.#options
    await this.#letGo()
    this.#bytes = 0
    const name = (age: number): string => (age === 0 ? path : `${path}.${age}`)
    if (files === 1) return rm(path, { force: true })
    for (let age = files - 1; age > 0; age -= 1) {
      await rename(name(age - 1), name(age)).catch((error: unknown) => {
        if (codeOf(error) !== 'ENOENT') throw error
      })
    }
  }

  #takeBatch(): Buffer {
    const most = Math.min(MAX_BATCH_BYTES, this.#options.maxBytes)
    let bytes = 0
    const end = this.#pending.findIndex((line) => (bytes += line.length) > most)
    const lines = this.#pending.splice(0, end < 0 ? this.#pending.length : Math.max(1, end))
    const batch = Buffer.from(lines.join(''))
    this.#pendingBytes -= batch.length
    return batch
  }

  async #letGo(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    // A disk that fails may fail at this too, and there is nobody to be told.
    await file?.close().catch(() => undefined)
  }
}

function newlines(bytes: Buffer): number {
  return bytes.reduce((count, byte) => count + (byte === NEWLINE ? 1 : 0), 0)
}
