import { constants } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { LRUCache } from 'lru-cache'
import type { Authority } from './authority.js'
import { LEAF_VALID_MS, createLeafIssuer, generateRsaLeafKey, type LeafKey } from './leaf.js'

/** A context is about 60 KiB of OpenSSL memory; few containers speak to more hosts than this at a time. */
const MAX_CONTEXTS = 500
/** Well before the leaf inside ends. */
const CONTEXT_TTL_MS = LEAF_VALID_MS - 2 * 24 * 60 * 60 * 1000

export interface ServerContexts {
  /** The TLS context that shows a certificate for `host`, a canonical name or an IP address. */
  for(host: string): SecureContext
  /** Whether that costs no new certificate. */
  has(host: string): boolean
  /**
   * The same with RSA certificates, for clients that take no others. Their key takes some 100 ms of a thread of its own,
   * and is made when the first such client comes.
   */
  forRsa(): Promise<ServerContexts>
}

/** One TLS context per host, made at its first handshake (about 1 ms) and kept. */
export function createServerContexts(
  authority: Authority,
  now: () => number,
  leafKey?: LeafKey,
): ServerContexts {
  const issuer = createLeafIssuer(authority, now, leafKey)
  const contexts = new LRUCache<string, SecureContext>({
    max: MAX_CONTEXTS,
    ttl: CONTEXT_TTL_MS,
    perf: { now },
  })
  let rsa: Promise<ServerContexts> | undefined
  const own: ServerContexts = {
    has: (host) => contexts.has(host),
    forRsa: () =>
      (rsa ??= generateRsaLeafKey().then((key) => {
        const made = createServerContexts(authority, now, key)
        return { ...made, forRsa: () => Promise.resolve(made) }
      })),
    for(host) {
      const known = contexts.get(host)
      if (known !== undefined) return known
      const made = createSecureContext({
        key: issuer.keyPem,
        cert: issuer.issue(host) + authority.certPem,
        minVersion: 'TLSv1.2',
        // A handshake costs us more than the client that asks for one.
        secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      })
      contexts.set(host, made)
      return made
    },
  }
  return own
}
