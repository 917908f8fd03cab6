import { codeOf, DiscobotError } from '../../../base/errors.js'

/** A body ended early after its head was sent: only a reset tells the client that it has a part. */
export class BodyAbortedError extends DiscobotError {
  readonly code = 'BODY_ABORTED'

  constructor(reason: string, options?: ErrorOptions) {
    super(`cannot send the whole body: ${reason}`, options)
  }
}

/** Another living process works on the directory; sharing it would serve one's bytes under the other's name. */
export class CacheLockedError extends DiscobotError {
  readonly code = 'CACHE_LOCKED'

  constructor(dir: string, pid: number) {
    super(`cannot use cache directory ${dir}: process ${pid} is using it; give each proxy its own cache.dir`)
  }
}

/** `cache.offline` is set, or the client asked for `only-if-cached`, and what was asked for is not stored. */
export class NotStoredError extends DiscobotError {
  readonly code = 'NOT_STORED'

  constructor(url: string, reason: string) {
    super(`cannot answer for ${url}: it is not stored, and ${reason}`)
  }
}

/** A stored entry does not hold what its meta says; it is dropped and fetched anew. */
export class CorruptEntryError extends DiscobotError {
  readonly code = 'CACHE_ENTRY_CORRUPT'

  constructor(name: string, reason: string, options?: ErrorOptions) {
    super(`cannot serve cache entry ${name}: ${reason}`, options)
  }
}

/** What is to be imported is no archive of a cache, or not all of one. */
export class ArchiveError extends DiscobotError {
  readonly code = 'CACHE_ARCHIVE_INVALID'
}

/** There is no store to export from or import into. */
export class CacheOffError extends DiscobotError {
  readonly code = 'CACHE_OFF'

  constructor() {
    super('cannot use the cache: it is off, or its directory cannot be used; the log of the proxy says why')
  }
}

/** What is left of the disk is to stay free, and nothing stored can make room: traffic goes on uncached. */
export class DiskReserveError extends DiscobotError {
  readonly code = 'CACHE_DISK_RESERVE'

  constructor(minFree: number) {
    super(`cannot store: no more than ${minFree} bytes of the disk are free, which cache.min_free reserves`)
  }
}

/** Of a failed look at an entry: it says nothing about the entry, only about us: too many open files, or no memory. */
export function isShortage(error: unknown): boolean {
  const code = codeOf(error instanceof CorruptEntryError ? error.cause : error)
  return code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM'
}
