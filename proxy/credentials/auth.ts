import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import { isLoopback } from '../../base/net/loopback.js'
import type { ProxyAuthSection } from '../../config/model/config.js'
import { DiscobotError } from '../../base/errors.js'
import { parseTemplate } from '../../config/model/secret-template.js'
import { headerValue, type RawHeaders } from '../message/headers.js'
import { SecretWithheldError, type Secrets } from './secrets.js'

/** The client has not shown the name and password of `proxy.auth`. Answered with 407. */
export class ProxyAuthError extends DiscobotError {
  override readonly code = 'PROXY_AUTH_REQUIRED'
}

/** RFC 7617, 2.1: what we read is UTF-8. */
export const CHALLENGE = 'Basic realm="discobot-proxy", charset="UTF-8"'

export interface Credentials {
  readonly user: string
  readonly password: string
}

/** RFC 7617, 2. @param credentials as latin1 text of their bytes. */
export function basic({ user, password }: Credentials): string {
  return `Basic ${Buffer.from(`${user}:${password}`, 'latin1').toString('base64')}`
}

/** Who may use the proxy. Holds no password, only what one can be compared with. */
export class ProxyAuth {
  readonly #exemptsLoopback: boolean
  /** Of this process alone: what is kept is of no use elsewhere. */
  readonly #key = randomBytes(32)
  readonly #accepted: readonly Buffer[]
  readonly #withheld: string | undefined

  /** @param own shown by this process itself where it is its own client. */
  constructor({ user, password, loopback }: ProxyAuthSection, secrets: Secrets, own: Credentials) {
    this.#exemptsLoopback = loopback === 'exempt'
    if (user === '') {
      this.#accepted = []
      return
    }
    const ownDigest = this.#digest(own.user, own.password)
    try {
      this.#accepted = [this.#digest(filled(user, secrets), filled(password, secrets)), ownDigest]
    } catch (error) {
      // Nobody can show what we do not know ourselves.
      if (!(error instanceof SecretWithheldError)) throw error
      this.#accepted = [ownDigest]
      this.#withheld = error.message
    }
  }

  /** Whether anybody is asked. */
  get isOn(): boolean {
    return this.#accepted.length > 0
  }

  /** Whether this client is asked. */
  isFor({ remoteAddress }: Socket): boolean {
    if (!this.isOn) return false
    return !(this.#exemptsLoopback && remoteAddress !== undefined && isLoopback(remoteAddress))
  }

  /** Compares in a time that tells nothing. @param user, password as latin1 text of the bytes sent. */
  accepts(user: string, password: string): boolean {
    const shown = this.#digest(user, password)
    return this.#accepted.filter((accepted) => timingSafeEqual(shown, accepted)).length > 0
  }

  /** Whether `sent`, the value of a header, is Basic with credentials of ours. RFC 7617, 2. */
  acceptsHeader(sent: string): boolean {
    const [, encoded] = /^Basic +([A-Za-z0-9+/]+=*)$/i.exec(sent.trim()) ?? []
    const decoded = Buffer.from(encoded ?? '', 'base64').toString('latin1')
    const colon = decoded.indexOf(':')
    return colon !== -1 && this.accepts(decoded.slice(0, colon), decoded.slice(colon + 1))
  }

  /** @throws ProxyAuthError when the client must show credentials and has not. */
  check(headers: RawHeaders, socket: Socket): void {
    if (!this.isFor(socket)) return
    const sent = headerValue(headers, 'proxy-authorization')
    if (sent !== undefined && this.acceptsHeader(sent)) return
    const wanted = sent === undefined ? 'a name and a password' : 'another name or password'
    const why = this.#withheld === undefined ? '' : `; nobody has it: ${this.#withheld}`
    throw new ProxyAuthError(`cannot let this through: the proxy wants ${wanted} (proxy.auth)${why}`)
  }

  #digest(user: string, password: string): Buffer {
    return createHmac('sha256', this.#key)
      .update(JSON.stringify([user, password]))
      .digest()
  }
}

/** The bytes as latin1 text, as they come over the wire. */
function filled(template: string, secrets: Secrets): string {
  const parts = parseTemplate(template)
  if (typeof parts === 'string') throw new TypeError(`cannot use proxy.auth: a value ${parts}`)
  return parts
    .map((part) =>
      part.kind === 'text' ? Buffer.from(part.text).toString('latin1') : secrets.compare(part.name),
    )
    .join('')
}
