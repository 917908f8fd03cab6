import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Access } from './access.js'
import type { JsonSchema } from './json-schema.js'
import type { Query, QueryParameter } from './query.js'

export interface Described {
  readonly description: string
}

/** What a route answers with one status; problems are described for all routes alike. */
export interface AnswerSpec extends Described {
  /** Media type → the shape of the body; no shape for bytes. */
  readonly content?: Readonly<Record<string, JsonSchema>>
  readonly headers?: Readonly<Record<string, Described>>
}

export interface BodySpec extends Described {
  /** Media type → the shape of the body; others are refused with 415, where it is not just bytes. */
  readonly content: Readonly<Record<string, JsonSchema>>
  /** More is refused with 413 where it is read as a whole; who takes the bytes as they come sees to it. */
  readonly maxBytes: number
}

/** Bytes of any kind, and of none: their media type is not looked at. */
export function isAnyBytes({ content }: Pick<BodySpec, 'content'>): boolean {
  return Object.hasOwn(content, 'application/octet-stream')
}

/** One request under way. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The parts of the path in braces, decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  /** Aborts when the client has gone, or the server is stopping: the reason says which. */
  readonly signal: AbortSignal
  /** The body, within what the route says of it. Rejects with RefusedRequestError: 400, 408 or 413. */
  text(): Promise<string>
  /** The same as the JSON value that it must be. */
  json(): Promise<unknown>
}

export type LeaveReason = 'client-left' | 'stopping'

/** A request for another protocol on this connection. */
export interface Upgrade extends Exchange {
  readonly socket: Duplex
  /** What came behind the head already. */
  readonly head: Buffer
}

interface Documented {
  /** `{name}` stands for one segment. */
  readonly path: string
  readonly summary: string
  readonly description?: string
  readonly params?: Readonly<Record<string, Described>>
  /** Others than these are refused. */
  readonly query?: Readonly<Record<string, QueryParameter>>
  /** Headers that change what it does. */
  readonly headers?: Readonly<Record<string, Described>>
  readonly answers: Readonly<Record<number, AnswerSpec>>
  /** Status → when this very route answers so, beside those that all have. */
  readonly problems?: Readonly<Record<number, string>>
}

/** One thing a server does: what serves it is what guards and describes it. */
export interface Route extends Documented {
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE' | 'OPTIONS'
  readonly access: Access
  readonly body?: BodySpec
  /** GET only: HEAD is not answered, because the body has no end of its own. */
  readonly endless?: true
  /** Resolves when nothing of the request is left; what it throws becomes a problem. */
  handle(exchange: Exchange): Promise<void>
  /** The same path and method asked for as a WebSocket. */
  upgrade?(upgrade: Upgrade): Promise<void>
}
