import { isIP } from 'node:net'
import { DiscobotError } from '../errors.js'
import { canonicalHost } from './host-name.js'

/** A host and port written in a way that no canonical form can be given to. Answered with 400. */
export class TargetError extends DiscobotError {
  override readonly code = 'TARGET_INVALID'
}

/** CONNECT target, server name, Host and absolute URI do not name the same authority. Answered with 421. */
export class AuthorityMismatchError extends DiscobotError {
  override readonly code = 'AUTHORITY_MISMATCH'
}

/**
 * The one authority of a request, in canonical form: policy, dialing, TLS server name, injection, cache key
 * and log all use this and nothing else.
 */
export interface Target {
  /** Lower-case ASCII name without a trailing dot, or an IP address without brackets. */
  readonly host: string
  readonly port: number
  readonly isAddress: boolean
  /** `host:port`, brackets around IPv6, the port always present. */
  readonly authority: string
}

/**
 * Reads `host`, `host:port` or `[v6]:port` as it stands in a request line or Host header.
 *
 * Every spelling of an address (`0x7f.1`, `2130706433`, `①27.0.0.1`, `[::ffff:7f00:1]`) becomes the address
 * itself, so that no list can be passed by writing it another way.
 *
 * @param text as Node gives it: header bytes decoded as latin1.
 * @throws TargetError naming what is wrong.
 */
export function parseTarget(text: string, defaultPort: number | undefined): Target {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(text)
  const rawHost = match?.[1]
  if (rawHost === undefined) throw refuse(text, 'it is not host:port')
  const port = match?.[2] === undefined ? defaultPort : Number(match[2])
  if (port === undefined) throw refuse(text, 'the port is missing')
  return targetOf(hostOf(rawHost, text), port, text)
}

/** A target from parts that arrive apart, as in SOCKS. @throws TargetError */
export function makeTarget(host: string, port: number): Target {
  return targetOf(hostOf(host, host), port, host)
}

function targetOf(host: string, port: number, text: string): Target {
  if (port < 1 || port > 65_535) throw refuse(text, 'the port is not within 1 to 65535')
  const version = isIP(host)
  return {
    host,
    port,
    isAddress: version !== 0,
    authority: version === 6 ? `[${host}]:${port}` : `${host}:${port}`,
  }
}

function hostOf(raw: string, text: string): string {
  const decoded = decodeHeaderBytes(raw)
  const host = decoded === undefined ? undefined : canonicalHost(decoded)
  if (host === undefined) throw refuse(text, 'the host is neither a name nor an address')
  return host
}

/** Names beyond ASCII arrive as UTF-8 bytes that Node shows as latin1. */
function decodeHeaderBytes(raw: string): string | undefined {
  if (/^[\x20-\x7e]*$/.test(raw) || /[^\x00-\xff]/.test(raw)) return raw
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(raw, 'latin1'))
  } catch {
    return undefined
  }
}

function refuse(text: string, why: string): TargetError {
  return new TargetError(`cannot use ${JSON.stringify(text.slice(0, 100))} as a target: ${why}`)
}
