import { constants } from 'node:fs'
import { open, rm, type FileHandle } from 'node:fs/promises'

/** The body of an entry to be, or of one that was just made: renaming the file does not disturb the handle. */
export class TempBody {
  readonly path: string
  readonly #file: FileHandle

  private constructor(path: string, file: FileHandle) {
    this.path = path
    this.#file = file
  }

  /** @throws the system's error. */
  static async create(path: string): Promise<TempBody> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL
    return new TempBody(path, await open(path, flags, 0o600))
  }

  /** Resolves with how many bytes were written, possibly fewer than given. @throws the system's error. */
  async write(pieces: readonly Buffer[], position: number): Promise<number> {
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
