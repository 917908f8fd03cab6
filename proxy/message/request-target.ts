import { canonicalHost } from '../../base/net/host-name.js'
import { headerValue, headerValues } from './headers.js'
import type { ClientRequest } from './message.js'
import { AuthorityMismatchError, TargetError, parseTarget, type Target } from '../../base/net/target.js'

/** What a client agreed on before it sent requests through the connection. */
export interface TunnelContext {
  /** From CONNECT or SOCKS. */
  readonly target: Target
  /** The client's TLS ended here. */
  readonly secure: boolean
  /** The name the client asked for in its TLS handshake. */
  readonly serverName?: string
}

/**
 * The site that a request inside a tunnel to an address names: clients that resolve names themselves (`socks5://`) say
 * only there what it is called. Whether its name leads to the address is for the resolver to say.
 *
 * @returns undefined where there is nothing but the address, or no usable name.
 */
export function namedSite(
  request: ClientRequest,
  { target, secure, serverName }: TunnelContext,
): Target | undefined {
  const absolute = ABSOLUTE_FORM.exec(request.url ?? '')
  const host = headerValue(request.rawHeaders, 'host')
  const named = serverName ?? absolute?.[2] ?? request.pseudo?.authority ?? host
  if (named === undefined) return undefined
  try {
    const site = parseTarget(
      named,
      serverName === undefined ? defaultPort(secure ? 'https' : 'http') : target.port,
    )
    return site.isAddress || site.port !== target.port ? undefined : site
  } catch (error) {
    // Its refusal is said with all the others, by `requestTarget`.
    if (error instanceof TargetError) return undefined
    throw error
  }
}

/** Where one request goes, every name it carries having been found to agree. */
export interface RequestTarget {
  readonly target: Target
  readonly scheme: 'http' | 'https'
  /** Origin form: path with query, or `*`. */
  readonly path: string
  /** In a tunnel: Host as the client wrote it, which a signature may cover. The same host and port, no more. */
  readonly writtenHost?: string
}

const ABSOLUTE_FORM = /^(https?|wss?):\/\/([^/?#]*)([^#]*)$/i

/**
 * Decides the one authority of a request. In a tunnel its target, the server name, the absolute URI and Host must name
 * the same one; without a tunnel the absolute URI says it.
 *
 * @throws TargetError when there is none, or it is malformed.
 * @throws AuthorityMismatchError when two of them differ.
 */
export function requestTarget(request: ClientRequest, tunnel: TunnelContext | undefined): RequestTarget {
  const url = request.url ?? ''
  if (tunnel === undefined) {
    const asked = absoluteTarget(url)
    if (asked === undefined) throw notForProxy(url)
    assertHostIsOne(request, asked)
    return asked
  }

  const absolute = ABSOLUTE_FORM.exec(url)
  const scheme = tunnel.secure ? 'https' : 'http'
  const { target, serverName } = tunnel
  if (serverName !== undefined && !namesTarget(serverName, target)) {
    throw mismatch('the TLS server name', serverName, target)
  }
  if (absolute !== null) {
    const inner = parseTarget(absolute[2] ?? '', defaultPort(scheme))
    if (schemeOf(absolute[1]) !== scheme || inner.authority !== target.authority) {
      throw mismatch('the request URI', absolute[0], target)
    }
  } else if (!/^\/[^#]*$/.test(url) && !(url === '*' && request.method === 'OPTIONS')) {
    throw new TargetError(`cannot use ${JSON.stringify(url.slice(0, 100))} as a request target`)
  }
  assertPseudoAgrees(request, target, scheme)
  assertHostAgrees(request, target, scheme)
  const writtenHost = plainHost(request, { target, scheme })
  const path = absolute === null ? url : originForm(absolute[3])
  return { target, scheme, path, ...(writtenHost === undefined ? {} : { writtenHost }) }
}

/** Other spellings of a host than by case and port are ours to canonicalise: upstream might read them in another way. */
function plainHost(request: ClientRequest, to: Pick<RequestTarget, 'target' | 'scheme'>): string | undefined {
  const written = headerValue(request.rawHeaders, 'host') ?? request.pseudo?.authority
  if (written === undefined || written === hostHeader(to)) return undefined
  const lower = written.toLowerCase()
  return lower === hostHeader(to) || lower === to.target.authority ? written : undefined
}

/** Where an absolute URI leads; undefined for what is none. @throws TargetError for a host that is none. */
export function absoluteTarget(url: string): RequestTarget | undefined {
  const absolute = ABSOLUTE_FORM.exec(url)
  if (absolute === null) return undefined
  const scheme = schemeOf(absolute[1])
  return {
    scheme,
    target: parseTarget(absolute[2] ?? '', defaultPort(scheme)),
    path: originForm(absolute[3]),
  }
}

/** The Host of a request to `target`: without the port where it is the scheme's own (RFC 9110, 7.2). */
export function hostHeader({ target, scheme }: Pick<RequestTarget, 'target' | 'scheme'>): string {
  const own = defaultPort(scheme)
  return target.port === own ? target.authority.slice(0, -`:${own}`.length) : target.authority
}

/** RFC 6066, 3 allows no port in it, but Go programs that copy the Host there are common. */
export function namesTarget(serverName: string, target: Target): boolean {
  // What is canonical already is the common case, and needs no parser.
  if (serverName === target.host || serverName === target.authority) return true
  return canonicalHost(serverName.replace(new RegExp(`:${target.port}$`), '')) === target.host
}

/** RFC 9112, 3.2: more than one is answered with 400. @returns it; none is only possible from HTTP/1.0. */
export function assertOneHost({ rawHeaders }: Pick<ClientRequest, 'rawHeaders'>): string | undefined {
  const hosts = headerValues(rawHeaders, 'host')
  if (hosts.length > 1) throw new TargetError('cannot use a request with more than one Host header')
  return hosts[0]
}

/**
 * RFC 9112, 3.2.2: beside an absolute URI the Host that came is ignored, and ours goes on. It must be one all the same:
 * what is no host, or two, is how requests are smuggled, and comes from no client that means well.
 */
function assertHostIsOne(request: ClientRequest, asked: RequestTarget): void {
  const host = assertOneHost(request)
  if (host !== undefined && host !== hostHeader(asked)) parseTarget(host, defaultPort(asked.scheme))
}

function assertHostAgrees(request: ClientRequest, target: Target, scheme: 'http' | 'https'): void {
  const host = assertOneHost(request)
  if (host === undefined || host === hostHeader({ target, scheme })) return
  if (parseTarget(host, defaultPort(scheme)).authority !== target.authority) {
    throw mismatch('the Host header', host, target)
  }
}

/** RFC 9113, 8.3.1: what HTTP/2 says beside the path. Clients may share a connection between hosts: not here. */
function assertPseudoAgrees({ pseudo }: ClientRequest, target: Target, scheme: 'http' | 'https'): void {
  if (pseudo === undefined) return
  const { authority, scheme: said } = pseudo
  if (said !== scheme) throw mismatch(':scheme', said ?? '', target)
  if (authority === undefined) return
  if (parseTarget(authority, defaultPort(scheme)).authority !== target.authority) {
    throw mismatch(':authority', authority, target)
  }
}

function mismatch(what: string, value: string, target: Target): AuthorityMismatchError {
  return new AuthorityMismatchError(
    `cannot forward: ${what} ${JSON.stringify(value.slice(0, 100))} does not name ${target.authority}, which the connection is for`,
  )
}

function notForProxy(url: string): TargetError {
  return new TargetError(
    `cannot answer ${JSON.stringify(url.slice(0, 100))}: this is a proxy, not a web server; set HTTP_PROXY and HTTPS_PROXY to its address`,
  )
}

function schemeOf(written: string | undefined): 'http' | 'https' {
  const lower = written?.toLowerCase()
  return lower === 'https' || lower === 'wss' ? 'https' : 'http'
}

function defaultPort(scheme: 'http' | 'https'): number {
  return scheme === 'https' ? 443 : 80
}

function originForm(rest: string | undefined): string {
  if (rest === undefined || rest === '') return '/'
  return rest.startsWith('/') ? rest : `/${rest}`
}
