import { createHash } from 'node:crypto'

/**
 * A token has the characters of RFC 6750, section 2.1, and at least 16 of them, because nobody counts wrong tries.
 */
export const TOKEN_PATTERN = /^[\w.~+/-]{16,256}={0,2}$/

/** In place of the digest of a token that cannot be used: no text is known that has it. */
export const NOBODYS_DIGEST = '0'.repeat(64)

/** The sha256 of a token: what is handed over in its place, 64 hex digits. */
export function tokenDigest(token: string): string {
  return sha256Of(token).toString('hex')
}

export function sha256Of(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
