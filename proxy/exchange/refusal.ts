import { STATUS_CODES, ServerResponse } from 'node:http'
import { codeOf, reasonOf } from '../../base/errors.js'
import { CHALLENGE, ProxyAuthError } from '../credentials/auth.js'
import { closeWith } from '../message/close-with.js'
import type { ClientResponse } from '../message/message.js'
import { StreamResetError } from '../h2/stream-error.js'
import { NotStoredError } from '../cache/contract/errors.js'
import { DialForbiddenError, ResolveError, SilentNameError } from '../policy/route-guard.js'
import { FramingError } from '../message/framing.js'
import { pairs, type RawHeaders } from '../message/headers.js'
import { IdleError } from '../socket/idle-watch.js'
import { InformationalError } from '../upstream/informational.js'
import { OverloadError } from '../socket/overload.js'
import { ProxyLoopError, UpstreamProxyError } from '../upstream/errors.js'
import { BlockedError } from '../policy/policy.js'
import { SecretWithheldError } from '../credentials/secrets.js'
import { AuthorityMismatchError, TargetError } from '../../base/net/target.js'

/** An answer the proxy makes itself: a status, the RFC 9209 error type, and a sentence for a person. */
export interface Refusal {
  readonly status: number
  /** RFC 9209, 2.3: a registered proxy error type. */
  readonly type: string
  readonly message: string
  /** Besides those that every refusal has. */
  readonly headers?: RawHeaders
}

/** Longer than the name of a host and what is wrong with it. */
const MAX_REASON_LENGTH = 500

/** System error codes of a connection to upstream → status and RFC 9209 type. In step with docs/errors.md. */
const UPSTREAM_CODES: Readonly<Record<string, readonly [status: number, type: string, words: string]>> = {
  ECONNREFUSED: [502, 'connection_refused', 'it refuses connections'],
  ECONNRESET: [502, 'connection_terminated', 'it closed the connection'],
  EPIPE: [502, 'connection_terminated', 'it closed the connection'],
  EHOSTUNREACH: [502, 'destination_ip_unroutable', 'there is no route to it'],
  ENETUNREACH: [502, 'destination_ip_unroutable', 'there is no route to it'],
  EADDRNOTAVAIL: [502, 'destination_ip_unroutable', 'there is no route to it'],
  ETIMEDOUT: [504, 'connection_timeout', 'it did not accept the connection in time'],
  HPE_INVALID_CONSTANT: [502, 'http_protocol_error', 'its answer is not HTTP'],
}

export function refusalOf(error: unknown, authority: string): Refusal {
  if (error instanceof ProxyAuthError) {
    return {
      status: 407,
      type: 'http_request_denied',
      message: error.message,
      headers: ['Proxy-Authenticate', CHALLENGE],
    }
  }
  if (error instanceof TargetError) return { status: 400, type: 'http_request_error', message: error.message }
  if (error instanceof FramingError) {
    return { status: error.status, type: 'http_request_error', message: error.message }
  }
  if (error instanceof AuthorityMismatchError) {
    return { status: 421, type: 'http_request_denied', message: error.message }
  }
  if (error instanceof SecretWithheldError) {
    return { status: 403, type: 'http_request_denied', message: error.message }
  }
  if (error instanceof BlockedError) {
    return { status: 403, type: 'http_request_denied', message: error.message }
  }
  if (error instanceof DialForbiddenError) {
    return { status: 403, type: 'destination_ip_prohibited', message: error.message }
  }
  if (error instanceof SilentNameError) return { status: 504, type: 'dns_timeout', message: error.message }
  if (error instanceof ResolveError) return { status: 502, type: 'dns_error', message: error.message }
  if (error instanceof StreamResetError) {
    return {
      status: 502,
      type: 'connection_terminated',
      message: `cannot get an answer from ${authority}: ${error.message}`,
    }
  }
  if (error instanceof ProxyLoopError) {
    return { status: 508, type: 'proxy_loop_detected', message: error.message }
  }
  if (error instanceof UpstreamProxyError) {
    const { status, type } = error
    return { status, type, message: `cannot reach ${authority}: ${error.message}` }
  }
  if (error instanceof OverloadError) {
    return {
      status: 503,
      type: 'http_request_denied',
      message: error.message,
      headers: ['Retry-After', String(error.retryAfterS)],
    }
  }
  if (error instanceof IdleError) {
    return error.waitedFor === 'client'
      ? { status: 408, type: 'http_request_error', message: `cannot read the request: ${error.message}` }
      : {
          status: 504,
          type: 'http_response_timeout',
          message: `no answer from ${authority}: ${error.message}`,
        }
  }
  if (error instanceof InformationalError) {
    return {
      status: 502,
      type: 'http_protocol_error',
      message: `no answer from ${authority}: ${error.message}`,
    }
  }
  if (error instanceof NotStoredError) {
    // RFC 9111, 5.2.1.7 has 504 for a cache that may not ask.
    return { status: 504, type: 'destination_unavailable', message: error.message }
  }
  const code = codeOf(error) ?? ''
  const known = UPSTREAM_CODES[code]
  if (known !== undefined) {
    return { status: known[0], type: known[1], message: `cannot reach ${authority}: ${known[2]} (${code})` }
  }
  if (/^HPE_|^ERR_HTTP2_/.test(code)) {
    return {
      status: 502,
      type: 'http_protocol_error',
      message: `cannot read the answer of ${authority}: ${code}`,
    }
  }
  if (isCertificateCode(code)) {
    return {
      status: 502,
      type: 'tls_certificate_error',
      message: `cannot trust ${authority}: ${brief(reasonOf(error))} (${code}); if the server is yours, add its CA to tls.upstream_ca`,
    }
  }
  if (/SSL|TLS|^EPROTO$/.test(code)) {
    return { status: 502, type: 'tls_protocol_error', message: `cannot speak TLS with ${authority}: ${code}` }
  }
  return {
    status: 502,
    type: 'proxy_internal_error',
    message: `cannot get an answer from ${authority}: ${code === '' ? 'unexpected error' : code}`,
  }
}

/** Node names all that a certificate says it is for, and a certificate may say so of thousands. */
function brief(reason: string): string {
  return reason.length > MAX_REASON_LENGTH ? `${reason.slice(0, MAX_REASON_LENGTH)}…` : reason
}

/**
 * The verification failures of OpenSSL (X509_V_ERR_*) and Node's own host name check. UNSPECIFIED is Node's word for
 * those it has no name for, weak keys and names that the authority may not sign for among them.
 */
function isCertificateCode(code: string): boolean {
  return (
    /CERT|ISSUER|SELF_SIGNED|CRL|UNABLE_TO_VERIFY|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH|^UNSPECIFIED$/.test(
      code,
    ) && !code.startsWith('ERR_SSL')
  )
}

/** Sends a refusal as a plain readable body; the connection stays usable when `response` allows it. */
export function sendRefusal(response: ClientResponse, refusal: Refusal): void {
  const body = `discobot-proxy: ${refusal.message}\n`
  response.writeHead(refusal.status, STATUS_CODES[refusal.status], [
    'Content-Type',
    'text/plain; charset=utf-8',
    'Content-Length',
    String(Buffer.byteLength(body)),
    'Cache-Control',
    'no-store',
    'X-Content-Type-Options',
    'nosniff',
    'Proxy-Status',
    proxyStatus(refusal),
    ...(refusal.headers ?? []),
  ])
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

/**
 * The same for a request whose body nobody reads any more. The connection ends, as its rest would be taken for the
 * next request; slowly, as closing it over bytes that were not read would take the answer back.
 */
export function refuseUpload(response: ClientResponse, refusal: Refusal): void {
  response.shouldKeepAlive = false
  const socket = response instanceof ServerResponse ? response.socket : null
  // Null while earlier answers of a pipeline are on their way, and in HTTP/2, where only the stream ends.
  if (socket === null || response.req.method === 'HEAD') {
    sendRefusal(response, refusal)
    return
  }
  if (response instanceof ServerResponse) response.detachSocket(socket)
  closeWith(socket, renderRefusal(refusal))
}

/** The same on a bare socket, for answers to CONNECT; ends the connection. */
export function renderRefusal(refusal: Refusal): string {
  const body = `discobot-proxy: ${refusal.message}\n`
  return [
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}`,
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `Proxy-Status: ${proxyStatus(refusal)}`,
    ...pairs(refusal.headers ?? []).map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
    '',
    body,
  ].join('\r\n')
}

/** RFC 9209, 2; a structured-field string holds printable ASCII only (RFC 8941, 3.3.3). */
function proxyStatus({ type, message }: Refusal): string {
  const details = message.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')
  return `discobot; error=${type}; details="${details}"`
}
