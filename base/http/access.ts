import { timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { JsonSchema } from './json-schema.js'
import type { Problem } from './problem.js'

/**
 * Who may ask a route. `open` is told to everybody, `read` looks, `write` changes, `token` is for the holder of the
 * server's token alone, `peer` for whom the kernel names. Each server says what its levels take.
 */
export type Access = 'open' | 'read' | 'write' | 'token' | 'peer'

/** What one level takes. */
export interface AccessRule {
  /** Why this client may not; undefined lets the request in. */
  check(request: IncomingMessage, params: Params): Problem | undefined | Promise<Problem | undefined>
  /** Security schemes of OpenAPI by name, any of which will do; none where nothing has to be shown. */
  readonly schemes: Readonly<Record<string, JsonSchema>>
  /** Not every client is asked to show them. */
  readonly optional?: true
}

type Params = Readonly<Record<string, string>>

/** A route whose level has no rule is a mistake that no server starts with. */
export type AccessTable = Readonly<Partial<Record<Access, AccessRule>>>

/** For levels at which nothing has to be shown. */
export const EVERYBODY: AccessRule = { check: () => undefined, schemes: {} }

/** The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1). */
export function bearerToken({ authorization }: IncomingHttpHeaders): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1]
}

/** How long it takes tells nothing of where two digests differ. */
export function sameDigest(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other)
}
