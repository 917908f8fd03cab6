import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { codeOf } from '../../base/errors.js'
import { limitConnecting } from '../socket/connect-limit.js'
import { DialForbiddenError, ResolveError, SilentNameError, type Route } from '../policy/route-guard.js'
import { KEEP_ALIVE } from '../socket/keep-alive.js'
import { SecretWithheldError } from '../credentials/secrets.js'
import type { OpenSockets } from '../watch/open-sockets.js'
import { connectHandshake } from './connect-handshake.js'
import { ProxyLoopError, UpstreamProxyError } from './errors.js'
import type { ParentProxy } from './parent-proxy.js'
import { socks5Handshake } from './socks5-handshake.js'

/** RFC 8305, 5. */
const HAPPY_EYEBALLS = { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 250 }

/** RFC 6761, 6.3, and what clouds call the place that hands out credentials. */
const NEVER_BY_NAME =
  /(^|\.)localhost$|^metadata$|^metadata\.google\.internal$|^instance-data(\.ec2\.internal)?$|^metadata\.azure\.(com|internal)$/

interface DialerOptions {
  readonly parent: ParentProxy
  /** What we call ourselves in `Via`. */
  readonly via: string
  /** Whether one of our own listeners is there. */
  readonly isOurself: (address: string, port: number) => boolean
  readonly limitMs: number
  /** Takes down every connection that is made. */
  readonly sockets: OpenSockets
  /** For the name of the upstream proxy itself. */
  readonly lookup: LookupFunction
}

/** Connections by way of the upstream proxy. */
export class Dialer {
  readonly #options: DialerOptions

  constructor(options: DialerOptions) {
    this.#options = options
  }

  get parent(): ParentProxy {
    return this.#options.parent
  }

  /**
   * A connection to the route's target, as if it had been dialled; undefined where it is to be dialled without
   * the upstream proxy.
   *
   * The upstream proxy is told an address that has been checked. Where it resolves names itself, it is told the
   * name, once no rule is left that would judge addresses: for those the name must resolve here too.
   *
   * @throws UpstreamProxyError, ProxyLoopError, or what speaks against the route.
   */
  async tunnel(route: Route): Promise<Socket | undefined> {
    const { parent } = this.#options
    const { target } = route
    if (parent.bypasses(target)) return undefined
    if (parent.resolvesNames && !target.isAddress) {
      await assertName(route)
      return this.#through(target.host, target.port)
    }
    const addresses = await addressesOf(route)
    if (addresses.every((address) => parent.bypassesAddress(address))) return undefined
    let failure: unknown
    for (const address of addresses) {
      try {
        return await this.#through(address, target.port)
      } catch (error) {
        failure ??= error
        // The next address may be better; another attempt at the proxy itself is not.
        if (!(error instanceof UpstreamProxyError) || !/unroutable|refused|timeout/.test(error.type)) break
      }
    }
    throw failure
  }

  /** A connection to the upstream proxy itself. @throws UpstreamProxyError, ProxyLoopError */
  reach(): Promise<Socket> {
    const { parent, isOurself, limitMs, sockets, lookup } = this.#options
    return new Promise((resolve, reject) => {
      const socket = connect({
        ...HAPPY_EYEBALLS,
        host: parent.host,
        port: parent.port,
        lookup,
        ...KEEP_ALIVE,
        allowHalfOpen: true,
        noDelay: true,
      })
      sockets.add(socket)
      limitConnecting(socket, 'connect', limitMs)
      socket.on('error', (error) => {
        reject(unreachable(parent, error))
        socket.destroy()
      })
      socket.once('connect', () => {
        if (isOurself(socket.remoteAddress ?? '', parent.port)) {
          socket.destroy()
          reject(
            new ProxyLoopError(`cannot go on: upstream_proxy.url (${parent.label}) is this proxy itself`),
          )
        } else resolve(socket)
      })
    })
  }

  async #through(host: string, port: number): Promise<Socket> {
    const { parent, via, limitMs } = this.#options
    const socket = await this.reach()
    const timer = setTimeout(() => socket.destroy(), limitMs)
    let late = false
    try {
      if (parent.protocol === 'http') {
        const authority = isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
        await connectHandshake(socket, parent, authority, via, limitMs)
      } else await socks5Handshake(socket, parent, host, port)
      return socket
    } catch (error) {
      late = socket.destroyed
      socket.destroy()
      if (error instanceof UpstreamProxyError || error instanceof SecretWithheldError) throw error
      throw unreachable(parent, error, late)
    } finally {
      clearTimeout(timer)
    }
  }
}

function unreachable(parent: ParentProxy, error: unknown, broken = false): UpstreamProxyError {
  if (error instanceof ResolveError) {
    const words = `the upstream proxy ${parent.label} cannot be reached: ${error.message}`
    return new UpstreamProxyError(words, error instanceof SilentNameError ? 504 : 502, 'dns_error', error)
  }
  const code = codeOf(error) ?? ''
  if (code === 'ETIMEDOUT') {
    const words = `the upstream proxy ${parent.label} does not answer in time`
    return new UpstreamProxyError(words, 504, 'connection_timeout', error)
  }
  const why = broken ? 'ended the connection before it had answered' : `cannot be reached (${code})`
  return new UpstreamProxyError(
    `the upstream proxy ${parent.label} ${why}`,
    502,
    'destination_unavailable',
    error,
  )
}

/** What can be judged of a name that somebody else resolves. @throws DialForbiddenError, ResolveError */
export async function assertName(route: Route): Promise<void> {
  const { host } = route.target
  if (NEVER_BY_NAME.test(host)) {
    throw new DialForbiddenError(
      `${host} may not be reached: what it means to the upstream proxy is not known`,
    )
  }
  if (route.judgesAddresses) await route.check()
}

function addressesOf({ target, lookup }: Route): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    lookup(target.host, { all: true }, (error, found) => {
      if (error !== null) reject(error)
      else if (typeof found === 'string') resolve([found])
      else resolve(found.map(({ address }) => address))
    })
  })
}
