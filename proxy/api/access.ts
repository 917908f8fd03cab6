import { bearerToken, EVERYBODY, type AccessRule, type AccessTable } from '../../base/http/access.js'
import type { Problem } from '../../base/http/problem.js'
import type { ProxyAuth } from '../credentials/auth.js'
import type { ApiToken } from './token.js'

const REALM = 'realm="discobot-proxy"'
/** RFC 9110, 11.6.1: either will do. */
const CHALLENGES = `Basic ${REALM}, charset="UTF-8", Bearer ${REALM}`

const TOKEN_SCHEME = { type: 'http', scheme: 'bearer', description: 'the token of <data>/proxy/api-token' }
const LOGIN_SCHEME = { type: 'http', scheme: 'basic', description: 'name and password of proxy.auth' }

/**
 * Everybody on this machine may look. What the API does for a client with the powers of the proxy (fetching,
 * resolving, throwing away what it has fetched) it does for those whom the proxy would serve itself: who is asked for
 * `proxy.auth` there shows it here, or the token, which lets its holder do more than that.
 *
 * @param auth in force.
 */
export function proxyAccess(auth: () => ProxyAuth, token: ApiToken): AccessTable {
  return { open: EVERYBODY, read: EVERYBODY, write: userOfTheProxy(auth, token), token: holderOf(token) }
}

function userOfTheProxy(auth: () => ProxyAuth, token: ApiToken): AccessRule {
  return {
    schemes: { login: LOGIN_SCHEME, token: TOKEN_SCHEME },
    optional: true,
    check: ({ headers, socket }) => {
      const asks = auth()
      if (!asks.isFor(socket)) return undefined
      const shown = [headers.authorization, headers['proxy-authorization']].filter((one) => one !== undefined)
      const isKnown = shown.some((one) => {
        const bearer = bearerToken({ authorization: one })
        return bearer === undefined ? asks.acceptsHeader(one) : token.accepts(bearer)
      })
      if (isKnown) return undefined
      const detail =
        'this takes the name and password of proxy.auth ("Authorization: Basic …"), or the token of <data>/proxy/api-token'
      return unauthorized(detail, CHALLENGES)
    },
  }
}

/** RFC 6750, 2.1 and 3. */
function holderOf(token: ApiToken): AccessRule {
  return {
    schemes: { token: TOKEN_SCHEME },
    check: ({ headers }) => {
      const challenge = `Bearer ${REALM}`
      if (token.missing !== undefined)
        return unauthorized(`there is no API token: ${token.missing}`, challenge)
      const shown = bearerToken(headers)
      if (shown === undefined)
        return unauthorized(
          'send the token of <data>/proxy/api-token as "Authorization: Bearer TOKEN"',
          challenge,
        )
      if (token.accepts(shown)) return undefined
      return unauthorized(
        'the token is not the one of <data>/proxy/api-token',
        `${challenge}, error="invalid_token"`,
      )
    },
  }
}

function unauthorized(detail: string, challenges: string): Problem {
  return { status: 401, detail, headers: { 'WWW-Authenticate': challenges } }
}
