import { isIP, isIPv6 } from 'node:net'
import { isLoopback } from '../../config/loopback.js'
import type { Problem } from './problem.js'

/** What a browser cannot be stopped from sending, and what tells such requests from a person's own. */
interface GuardedHeaders {
  readonly host: string | undefined
  readonly origin: string | undefined
  /** `Sec-Fetch-Site` (Fetch Metadata): only browsers send it, and no page can change it. */
  readonly fetchSite?: string | undefined
}

const FOREIGN: Problem = { status: 403, detail: 'requests from pages of another origin are refused' }

/**
 * Refuses requests that a web page made somebody's browser send. A page that rebinds its name's DNS to us has
 * that name in `Host`, so names other than `localhost` are refused and addresses are not; a page of another
 * origin that sends a form or a fetch has that origin in `Origin`, and where it asks without one (an image, a
 * script, a link) the browser itself says so in `Sec-Fetch-Site`. Another port of localhost is another origin.
 *
 * @param localAddress address the connection came in on: one on loopback is only asked for by loopback names.
 */
export function refusedRequest(headers: GuardedHeaders, localAddress: string): Problem | undefined {
  const host = hostName(headers.host)
  if (host === undefined) return { status: 400, detail: 'the Host header is missing or malformed' }
  const accepted = host === 'localhost' || isLoopback(host) || (isIP(host) !== 0 && !isLoopback(localAddress))
  if (!accepted) {
    return {
      status: 421,
      detail: `this server does not answer for "${host}"; ask for localhost or its address`,
    }
  }
  const { origin } = headers
  if (origin !== undefined && origin.toLowerCase() !== `http://${headers.host?.toLowerCase()}`) {
    return FOREIGN
  }
  const { fetchSite } = headers
  return fetchSite === undefined || ['same-origin', 'none'].includes(fetchSite) ? undefined : FOREIGN
}

/** The name or address of a `Host` header without its port (RFC 9110 section 7.2), lower case. */
function hostName(header: string | undefined): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(header ?? '')
  if (match === null) return undefined
  const [, v6, name] = match
  if (v6 !== undefined) return isIPv6(v6) ? v6.toLowerCase() : undefined
  return name?.toLowerCase()
}
