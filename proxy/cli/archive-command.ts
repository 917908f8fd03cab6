import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { Transform, type Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { codeOf, reasonOf } from '../../base/errors.js'
import type { Config } from '../../config/model/config.js'
import { loadConfigFile, loadDefaultConfig } from '../../config/layers/load.js'
import type { Logger } from '../../base/log/logger.js'
import { dataPaths, DEFAULT_DATA_DIR } from '../../config/model/paths.js'
import type { ImportReport } from '../cache/archive/read-archive.js'
import type { ResponseCache } from '../cache/response-cache.js'
import { CacheLockedError } from '../cache/contract/errors.js'
import { openDirectory } from '../cache/open-cache.js'
import { askApi, readJson } from './api-client.js'
import { WarmApiError } from './errors.js'
import { formatBytes } from './progress.js'

// store ⇄ tar, by the running proxy where there is one, else by ourselves under the lock of the directory

export interface ArchiveCommandDeps {
  readonly dataDir: string | undefined
  readonly stdin: Readable
  readonly stdout: Writable
  /** For what a person reads. */
  readonly say: (text: string) => void
  readonly logger: Logger
}

interface Place {
  readonly section: Config['cache']
  readonly apiPort: number
  readonly tokenFile: string
}

/** Which cache is meant. */
interface Which {
  readonly config: string | undefined
  readonly apiPort: number | undefined
}

export interface ExportQuestion extends Which {
  /** `-` is standard output. */
  readonly output: string
  /** All of them when empty. */
  readonly rules: readonly string[]
}

/** Resolves with the exit code. @throws WarmApiError, ConfigError, ArchiveError, or the system's error. */
export async function exportCache(
  { output, rules, ...which }: ExportQuestion,
  deps: ArchiveCommandDeps,
): Promise<number> {
  return exportTo(output, rules, await placeOf(which, deps), deps)
}

/** Takes `file` in; resolves with the exit code, and rejects as {@link exportCache} does. */
export async function importCache(
  { file, ...which }: Which & { readonly file: string },
  deps: ArchiveCommandDeps,
): Promise<number> {
  return importFrom(file, await placeOf(which, deps), deps)
}

async function placeOf({ config, apiPort }: Which, deps: ArchiveCommandDeps): Promise<Place> {
  const where = deps.dataDir === undefined ? {} : { dataDir: deps.dataDir }
  const merged = config === undefined ? loadDefaultConfig(where) : await loadConfigFile(config, where)
  return {
    section: merged.config.cache,
    apiPort: apiPort ?? merged.config.proxy.api_port,
    tokenFile: dataPaths(deps.dataDir ?? DEFAULT_DATA_DIR).apiToken,
  }
}

async function exportTo(
  file: string,
  rules: readonly string[],
  place: Place,
  deps: ArchiveCommandDeps,
): Promise<number> {
  const query = rules.map((rule) => `rule=${encodeURIComponent(rule)}`).join('&')
  const counter = new ByteCounter()
  // Before we may become somebody else.
  const output =
    file === '-' ? undefined : await PartialFile.create(file).catch(unusable(`cannot export to ${file}`))
  const write = (archive: Readable): Promise<void> =>
    pipeline(archive, counter, output?.stream ?? deps.stdout, { end: output !== undefined })
  try {
    await withCache(place, deps, {
      direct: async (cache) =>
        write(await cache.export((rule) => rules.length === 0 || rules.includes(rule))),
      running: async (token) =>
        write(await askApi(place.apiPort, { method: 'GET', path: `/api/cache/export?${query}`, token })),
    })
    await output?.complete()
  } finally {
    await output?.discard()
  }
  if (file !== '-') deps.say(`exported ${formatBytes(counter.bytes)} to ${file}\n`)
  return 0
}

async function importFrom(file: string, place: Place, deps: ArchiveCommandDeps): Promise<number> {
  const archive =
    file === '-' ? deps.stdin : (await open(file).catch(unusable(`cannot import ${file}`))).createReadStream()
  // Until somebody reads it.
  archive.on('error', () => undefined)
  const report = await withCache(place, deps, {
    direct: (cache) => cache.import(archive),
    running: async (token) => {
      const call = { method: 'POST', path: '/api/cache/import', token, upload: archive } as const
      return (await readJson(await askApi(place.apiPort, call))) as ImportReport
    },
  })
  const parts = [
    `imported ${report.entries} entries (${formatBytes(report.bytes)})`,
    report.present > 0 ? `${report.present} were there already` : '',
    report.too_large > 0 ? `${report.too_large} are larger than cache.max_size` : '',
    report.outdated > 0 ? `${report.outdated} are of an earlier version and were left out` : '',
    report.damaged > 0
      ? `${report.damaged} are damaged and were left out: ${report.damaged_keys.join(', ')}`
      : '',
  ]
  deps.say(`${parts.filter((part) => part !== '').join('; ')}\n`)
  return report.damaged > 0 ? 1 : 0
}

interface Ways<T> {
  readonly direct: (cache: ResponseCache) => Promise<T>
  readonly running: (token: string) => Promise<T>
}

async function withCache<T>(
  { section, tokenFile }: Place,
  { logger }: ArchiveCommandDeps,
  ways: Ways<T>,
): Promise<T> {
  let cache: ResponseCache
  try {
    await becomeOwner(section.dir)
    cache = await openDirectory(section, { logger, now: Date.now })
  } catch (error) {
    if (isDenied(error))
      throw new WarmApiError(
        `cannot use the cache in ${section.dir}: this account may not; do this as root`,
        {
          cause: error,
        },
      )
    if (!(error instanceof CacheLockedError)) throw error
    const token = await readFile(tokenFile, 'utf8').catch((failure: unknown) => {
      throw new WarmApiError(
        `a proxy is running on ${section.dir}, and its API token cannot be read (${reasonOf(failure)}); do this as root`,
      )
    })
    return ways.running(token.trim())
  }
  try {
    return await ways.direct(cache)
  } finally {
    await cache.close()
  }
}

/** Of the whole chain: what fails there is told by those who needed it. */
function isDenied(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return ['EACCES', 'EPERM'].includes(codeOf(error) ?? '') || isDenied(error.cause)
}

/** Says which file it is that the system will not give us. */
function unusable(what: string): (error: unknown) => never {
  return (error) => {
    throw new WarmApiError(`${what}: ${reasonOf(error)}`, { cause: error })
  }
}

/** What root writes there the proxy's own user could not read. */
async function becomeOwner(dir: string): Promise<void> {
  const found = await stat(dir).catch(() => undefined)
  if (process.geteuid?.() !== 0 || found === undefined || found.uid === 0) return
  process.setegid?.(found.gid)
  process.seteuid?.(found.uid)
}

/** A file that has its name only when it is whole. */
class PartialFile {
  readonly stream: Writable
  readonly #path: string
  readonly #name: string

  private constructor(name: string, path: string, stream: Writable) {
    this.#name = name
    this.#path = path
    this.stream = stream
  }

  /** @throws the system's error. */
  static async create(name: string): Promise<PartialFile> {
    const path = `${name}.${randomBytes(4).toString('hex')}.partial`
    const file = await open(path, 'wx', 0o600)
    return new PartialFile(name, path, file.createWriteStream())
  }

  /** @throws the system's error. */
  complete(): Promise<void> {
    return asStarted(() => rename(this.#path, this.#name))
  }

  /** Nothing once it is complete. */
  discard(): Promise<void> {
    this.stream.destroy()
    return asStarted(() => rm(this.#path, { force: true }))
  }
}

/** As who the command was started, which the folder of the output belongs to. */
function asStarted<T>(work: () => Promise<T>): Promise<T> {
  const uid = process.getuid?.()
  const gid = process.getgid?.()
  if (uid !== undefined && gid !== undefined && process.geteuid?.() !== uid) {
    process.seteuid?.(uid)
    process.setegid?.(gid)
  }
  return work()
}

class ByteCounter extends Transform {
  bytes = 0

  override _transform(
    piece: Buffer,
    _encoding: BufferEncoding,
    done: (error: null, piece: Buffer) => void,
  ): void {
    this.bytes += piece.length
    done(null, piece)
  }
}
