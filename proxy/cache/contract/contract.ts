import type { Readable } from 'node:stream'
import type { RawHeaders } from '../../message/headers.js'

/** What the cache needs to know of a request. All of it comes from the one authority the proxy decided on. */
export interface CacheRequest {
  /** Upper case. */
  readonly method: string
  readonly scheme: 'http' | 'https'
  /** Canonical `host:port`; the port is always present. */
  readonly authority: string
  /** Path without the query, as sent. */
  readonly path: string
  /** With the leading `?`, or empty. */
  readonly query: string
  /** The client's header of that (lower-case) name; repeated ones joined with ", ". */
  header(name: string): string | undefined
  /** All of the client's headers: `[name, value, …]`. */
  readonly fields: RawHeaders
}

/** An answer from upstream whose body has not been read. A truncated body must end in an `error`. */
export interface UpstreamResponse {
  readonly status: number
  readonly reason: string
  /** `[name, value, name, value, …]`, end-to-end headers only. */
  readonly rawHeaders: readonly string[]
  readonly body: Readable
  /** `1.1`; absent where nobody knows. */
  readonly httpVersion?: string
  /** The head was all there is. */
  readonly headOnly?: boolean
  /** Nothing but the end of its connection tells where the body ends, so a part of it looks like the whole. */
  readonly untilClose?: boolean
}

/** How a fetch asks. */
export interface FetchVariation {
  /** `HEAD` where only the head matters; GET otherwise. */
  readonly method?: 'HEAD'
  /** `[name, value, …]`: all that is sent besides `Host`, `Via` and `Accept-Encoding: identity`. */
  readonly headers?: readonly string[]
}

/**
 * Asks upstream what a request is for, in the words of `variation` and none of the client's own; the operator's header
 * rules apply. Aborting `signal` ends the transfer.
 */
export type FetchUpstream = (signal: AbortSignal, variation?: FetchVariation) => Promise<UpstreamResponse>

/**
 * Answered, in full unless the client left: `bytes` tells, and the status is 499 when it left before the head.
 * HIT: without asking upstream for it, also by joining another request's fetch (then without `X-Cache-Date`).
 */
export interface ServedOutcome {
  readonly kind: 'served'
  readonly cache: 'HIT' | 'MISS'
  readonly status: number
  readonly bytes: number
}

/** What became of a request that was offered to the cache. */
export type CacheOutcome =
  | ServedOutcome
  /** Upstream was asked, and its answer may not be kept: the caller relays it. */
  | { readonly kind: 'relay'; readonly response: UpstreamResponse }
  /** Nothing was asked or sent: the caller forwards the request as if there were no cache. */
  | { readonly kind: 'bypass' }
