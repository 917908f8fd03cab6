import type { Readable } from 'node:stream'
import type { CacheSection } from '../../config/model/config.js'
import type { ClientResponse } from '../message/message.js'
import type { ImportReport } from './archive/read-archive.js'
import type { Catalogue } from './store/catalogue.js'
import type { CacheOutcome, CacheRequest, FetchUpstream, UpstreamResponse } from './contract/contract.js'
import type { RuleFigures } from './contract/tally.js'

/** The figures of `GET /api/cache/stats`. */
export interface CacheStats {
  readonly hits: number
  readonly misses: number
  readonly stores: number
  readonly evictions: number
  readonly errors: number
  /** Bytes on disk. */
  readonly current_size: number
  /** hits / (hits + misses), 0 when there were none; three decimals. */
  readonly hit_rate: number
  /** Bytes of memory that hold copies of small entries. */
  readonly memory_size: number
  /** By name: the rules in force, and those that others have left entries of. */
  readonly rules: Readonly<Record<string, RuleStats>>
}

/** The figures of one rule: since the start, and of what it has stored now. */
export interface RuleStats extends RuleFigures {
  readonly entries: number
  /** Bytes on disk. */
  readonly current_size: number
}

export interface ResponseCache {
  /** The stored entries, to be listed, checked and removed; undefined while there is no cache. */
  readonly catalogue: Catalogue | undefined
  /** Whether a rule covers the request at all; cheap, asked for every request. */
  covers(request: CacheRequest): boolean
  /**
   * Answers `request` on `response` from the store or from a fill that all its readers share.
   *
   * @throws BodyAbortedError when the body ended early: once the head was sent, the caller must reset the
   *   connection so that the client cannot take the part for the whole.
   * @throws whatever `fetchUpstream` threw, when nothing was sent yet.
   */
  respond(
    request: CacheRequest,
    response: ClientResponse,
    fetchUpstream: FetchUpstream,
  ): Promise<CacheOutcome>
  /** Heeds what became of a request that was forwarded: one that may have changed something ends what is stored of it. */
  forwarded(request: CacheRequest, answer: Pick<UpstreamResponse, 'status' | 'rawHeaders'>): void
  stats(): CacheStats
  /**
   * New requests follow `section`; bodies under way end as they began. A smaller `max_size` evicts. Switched off,
   * it keeps what it has and gives nothing out. The folder stays the one it was opened with. Never rejects: where
   * a folder that is needed now cannot be used, the log says why and nothing is cached.
   */
  reconfigure(section: CacheSection): Promise<void>
  /** Removes every entry; those being read are read to their end first. Resolves with what was removed. */
  clear(): Promise<{ readonly entries: number; readonly bytes: number }>
  /**
   * The store as a tar; `wants` chooses by rule. An entry that cannot be read is left out.
   *
   * @throws CacheOffError
   */
  export(wants: (rule: string) => boolean): Promise<Readable>
  /** Takes in what `export` gave, here or elsewhere. @throws CacheOffError, ArchiveError or the system's error. */
  import(archive: Readable): Promise<ImportReport>
  /** Ends fills and readers, removes temporary files. */
  close(): Promise<void>
}
