import { constants } from 'node:fs'
import { open, rm, type FileHandle } from 'node:fs/promises'

/** Resolves when so many bytes may be written; rejects when they may not. */
export type Claim = (bytes: number) => Promise<void>

/** The body of an entry to be, or of one that was just made: renaming the file does not disturb the handle. */
export class TempBody {
  readonly path: string
  readonly #file: FileHandle
  readonly #claim: Claim

  private constructor(path: string, file: FileHandle, claim: Claim) {
    this.path = path
    this.#file = file
    this.#claim = claim
  }

  /** @throws the system's error. */
  static async create(path: string, claim: Claim): Promise<TempBody> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL
    return new TempBody(path, await open(path, flags, 0o600), claim)
  }

  /**
   * Resolves with how many bytes were written, possibly fewer than given.
   *
   * @throws what the claim throws, or the system's error.
   */
  async write(pieces: readonly Buffer[], position: number): Promise<number> {
    await this.#claim(pieces.reduce((sum, { length }) => sum + length, 0))
    const { bytesWritten } = await this.#file.writev([...pieces], position)
    return bytesWritten
  }

  /** Resolves with the number of bytes read, 0 past the end. @throws the system's error. */
  async read(into: Buffer, position: number): Promise<number> {
    const { bytesRead } = await this.#file.read(into, 0, into.length, position)
    return bytesRead
  }

  /** Takes the name away; what was written stays readable until the handle is closed. */
  async unlink(): Promise<void> {
    await rm(this.path, { force: true })
  }

  /** Resolves when reads and writes under way have ended too. */
  close(): Promise<void> {
    return this.#file.close()
  }
}
