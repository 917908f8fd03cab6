import type { IncomingMessage } from 'node:http'
import type { ProxyAuth } from '../auth.js'
import { refuse } from './routes.js'
import type { TokenCheck } from './token.js'

/** Lets pass who may use the proxy. @throws ReplyError */
export type UseCheck = (message: IncomingMessage) => void

/** RFC 9110, 11.6.1: either will do. */
const CHALLENGES = 'Basic realm="discobot-proxy", charset="UTF-8", Bearer realm="discobot-proxy"'

/**
 * What the API does for a client with the powers of the proxy (fetching, resolving, throwing away what it has fetched)
 * it does for those whom the proxy would serve itself: who is asked for `proxy.auth` there shows it here, or the token,
 * which lets its holder do more than that.
 *
 * @param auth in force.
 */
export function useCheck(auth: () => ProxyAuth, token: TokenCheck): UseCheck {
  return ({ headers, socket }) => {
    const asks = auth()
    if (!asks.isFor(socket)) return
    const shown = [headers.authorization, headers['proxy-authorization']].filter((one) => one !== undefined)
    const isKnown = shown.some((one) => {
      const bearer = /^Bearer +(\S+)$/i.exec(one)?.[1]
      return bearer === undefined ? asks.acceptsHeader(one) : token.accepts(bearer)
    })
    if (isKnown) return
    const error =
      'this takes the name and password of proxy.auth ("Authorization: Basic …"), or the token of <data>/proxy/api-token'
    refuse(401, error, { 'WWW-Authenticate': CHALLENGES })
  }
}
