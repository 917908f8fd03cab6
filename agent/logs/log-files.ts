import { join } from 'node:path'
import { chown, lstat, mkdir } from '../../base/files/files-at-once.js'
import { reasonOf } from '../../base/errors.js'
import type { LogFormat } from '../../base/log/contract.js'
import type { Clock } from '../process/clock.js'
import { jsonEntry, readableEntry, type LogEntry } from './log-entry.js'
import { RotatingFile } from './rotating-file.js'

export interface LogFilesOptions {
  /** Gets a file for each service and one for the agent. */
  readonly folder: string
  readonly format: LogFormat
  /** Of one file. */
  readonly maxBytes: number
  /** For each service; 0 keeps nothing on disk. */
  readonly files: number
  readonly clock: Clock
  /** Called once when lines can no longer be kept, and once when they can be again. */
  onTrouble(reason: string | undefined): void
}

/** Before there is a folder. A boot says less. */
const MAX_EARLY_LINES = 1_000
/** Only a disk that hangs takes longer, and nobody is to wait for it. */
const CLOSE_MS = 1_000

/** Keeps on disk what services and the agent say, so that it is still there after the next start. */
export class LogFiles {
  readonly #options: LogFilesOptions
  readonly #files = new Map<string, RotatingFile>()
  #early: LogEntry[] | undefined = []
  /** Services whose lines are lost at present, and why. */
  readonly #failing = new Map<string, string>()
  #gid: number | undefined
  #off = false

  constructor(options: LogFilesOptions) {
    this.#options = options
    this.#off = options.files === 0
  }

  /** Why lines are lost at present. */
  get trouble(): string | undefined {
    return this.#failing.values().next().value
  }

  /**
   * Begins to write; what was said before is not lost. Never rejects: `trouble` tells.
   *
   * @param gid whose group may read; absent means ours.
   */
  async begin(gid: number | undefined): Promise<void> {
    const { folder } = this.#options
    if (this.#off || this.#early === undefined) return
    try {
      await mkdir(folder, { recursive: true, mode: 0o750 })
      const stat = await lstat(folder)
      if (!stat.isDirectory() || stat.uid !== process.getuid?.())
        throw new Error(`${folder} is no folder of ours`)
      if (gid !== undefined && stat.gid !== gid) await chown(folder, stat.uid, gid)
    } catch (error) {
      this.#off = true
      this.#early = undefined
      this.#tell('', reasonOf(error))
      return
    }
    this.#gid = gid
    const early = this.#early
    this.#early = undefined
    for (const entry of early) this.keep(entry)
  }

  keep(entry: LogEntry): void {
    if (this.#off) return
    if (this.#early !== undefined) {
      if (this.#early.length < MAX_EARLY_LINES) this.#early.push(entry)
      return
    }
    this.#fileOf(entry.service).append(
      this.#options.format === 'json' ? jsonEntry(entry) : readableEntry(entry),
    )
  }

  /** Resolves when everything is written, or after a second. */
  async close(): Promise<void> {
    const closed = new AbortController()
    const all = Promise.all([...this.#files.values()].map((file) => file.close()))
    this.#off = true
    await Promise.race([
      all.finally(() => closed.abort()),
      this.#options.clock.sleep(CLOSE_MS, closed.signal),
    ])
  }

  #fileOf(service: string): RotatingFile {
    const known = this.#files.get(service)
    if (known !== undefined) return known
    const { folder, maxBytes, files, clock } = this.#options
    const file = new RotatingFile({
      path: join(folder, `${service}.log`),
      maxBytes,
      files,
      ...(this.#gid === undefined ? {} : { gid: this.#gid }),
      now: () => clock.now(),
      onTrouble: (reason) => this.#tell(service, reason),
    })
    this.#files.set(service, file)
    return file
  }

  #tell(service: string, reason: string | undefined): void {
    const before = this.trouble
    if (reason === undefined) this.#failing.delete(service)
    else this.#failing.set(service, reason)
    const now = this.trouble
    if ((before === undefined) === (now === undefined)) return
    // What is logged because of it is itself to be kept; later, so that nothing goes round in a circle.
    setImmediate(() => this.#options.onTrouble(now))
  }
}
