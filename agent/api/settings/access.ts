import type { IncomingHttpHeaders } from 'node:http'
import { bearerToken, EVERYBODY, sameDigest, type AccessTable } from '../../../base/http/access.js'
import type { Problem } from '../../../base/http/problem.js'
import { sha256Of } from '../../settings/api-token.js'

/** A WebSocket of a browser cannot carry `Authorization`; the token goes as one of the protocols it offers. */
const TOKEN_PROTOCOL = 'discobot.token.'

/** Decides whether a request shows the token. */
export type TokenCheck = (headers: IncomingHttpHeaders) => Problem | undefined

/**
 * Compares digests: the token itself need not be in our memory or environment, and the time a comparison takes
 * tells nothing.
 *
 * @param sha256 of the token, 64 hex digits.
 */
export function tokenCheck(sha256: string): TokenCheck {
  const expected = Buffer.from(sha256, 'hex')
  return (headers) => {
    const shown = bearerToken(headers) ?? protocolToken(headers['sec-websocket-protocol'])
    if (shown !== undefined && sameDigest(sha256Of(shown), expected)) return undefined
    const detail =
      shown === undefined ? 'a token is needed: Authorization: Bearer …' : 'this is not the token'
    return { status: 401, detail, headers: { 'WWW-Authenticate': 'Bearer realm="discobot"' } }
  }
}

/** Where there is a token, all is for its holder but for the plain question whether we live. */
export function agentAccess(token: TokenCheck | undefined): AccessTable {
  if (token === undefined) return { open: EVERYBODY, read: EVERYBODY, write: EVERYBODY }
  const holder = {
    check: ({ headers }: { readonly headers: IncomingHttpHeaders }) => token(headers),
    schemes: { token: { type: 'http', scheme: 'bearer' } },
  }
  return {
    // With a query it would tell what it takes.
    open: {
      check: ({ url = '', headers }) => (url.includes('?') ? token(headers) : undefined),
      schemes: {},
    },
    read: holder,
    write: holder,
  }
}

/** Protocols are HTTP tokens, which have no "/" or "=", so it is sent in base64url. */
function protocolToken(header: string | undefined): string | undefined {
  const found = (header ?? '').split(',').find((name) => name.trim().startsWith(TOKEN_PROTOCOL))
  if (found === undefined) return undefined
  return Buffer.from(found.trim().slice(TOKEN_PROTOCOL.length), 'base64url').toString()
}
