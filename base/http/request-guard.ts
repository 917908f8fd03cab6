import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { isIPv6 } from '../net/is-ipv6.js'
import { isLoopback, isLoopbackHost } from '../net/loopback.js'
import type { Problem } from './problem.js'

/** What a browser cannot be stopped from sending, and what tells such requests from a person's own. */
interface GuardedHeaders {
  readonly host: string | undefined
  readonly origin: string | undefined
  /** `Sec-Fetch-Site` (Fetch Metadata): only browsers send it, and no page can change it. */
  readonly fetchSite?: string | undefined
}

/** A request without a usable `Host`, one for another machine, one that another origin's page has sent. */
type Foreign = 'no-host' | 'other-host' | 'other-page'

/** What such a request is told; `host` as it was asked for, in lower case. */
export type ForeignAnswers = Readonly<Record<Foreign, (host: string) => Problem>>

export const FOREIGN_ANSWERS: ForeignAnswers = {
  'no-host': () => ({ status: 400, detail: 'the Host header is missing or malformed' }),
  'other-host': (host) => ({
    status: 421,
    detail: `this server does not answer for "${host}"; ask for localhost or its address`,
  }),
  'other-page': () => ({ status: 403, detail: 'requests from pages of another origin are refused' }),
}

/** {@link refusedRequest} for a server that listens on `ownHost`. */
export function requestGuard(
  ownHost: string,
  answers: ForeignAnswers,
): (request: IncomingMessage) => Problem | undefined {
  return ({ headers, socket }) => {
    const fetchSite = headers['sec-fetch-site']
    const guarded = {
      host: headers.host,
      origin: headers.origin,
      fetchSite: Array.isArray(fetchSite) ? fetchSite.join() : fetchSite,
    }
    return refusedRequest(guarded, socket.localAddress ?? ownHost, answers)
  }
}

/**
 * Refuses requests that a web page made somebody's browser send. A page that rebinds its name's DNS to us has
 * that name in `Host`, so names other than `localhost` are refused and addresses are not; a page of another
 * origin that sends a form or a fetch has that origin in `Origin`, and where it asks without one (an image, a
 * script, a link) the browser itself says so in `Sec-Fetch-Site`. Another port of localhost is another origin.
 *
 * @param localAddress address the connection came in on: one on loopback is only asked for by loopback names.
 */
export function refusedRequest(
  headers: GuardedHeaders,
  localAddress: string,
  answers: ForeignAnswers = FOREIGN_ANSWERS,
): Problem | undefined {
  const host = hostName(headers.host)
  if (host === undefined) return answers['no-host']('')
  const accepted = isLoopbackHost(host) || (isIP(host) !== 0 && !isLoopback(localAddress))
  if (!accepted) return answers['other-host'](host)
  const { origin } = headers
  if (origin !== undefined && origin.toLowerCase() !== `http://${headers.host?.toLowerCase()}`)
    return answers['other-page'](host)
  const { fetchSite } = headers
  if (fetchSite === undefined || ['same-origin', 'none'].includes(fetchSite)) return undefined
  return answers['other-page'](host)
}

/** The name or address of a `Host` header without its port (RFC 9110 section 7.2), lower case. */
function hostName(header: string | undefined): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(header ?? '')
  if (match === null) return undefined
  const [, v6, name] = match
  if (v6 !== undefined) return isIPv6(v6) ? v6.toLowerCase() : undefined
  return name?.toLowerCase()
}
