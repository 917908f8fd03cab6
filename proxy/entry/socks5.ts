import type { Socket } from 'node:net'
import { codeOf, reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import type { ProxyAuth } from '../credentials/auth.js'
import { closeWith } from '../message/close-with.js'
import { take } from '../socket/exact-bytes.js'
import { DialForbiddenError, ResolveError } from '../policy/route-guard.js'
import { UpstreamProxyError } from '../upstream/errors.js'
import { BlockedError } from '../policy/policy.js'
import { SecretWithheldError } from '../credentials/secrets.js'
import { TargetError, makeTarget, type Target } from '../../base/net/target.js'

// client → greeting, request → us → (reply) → tunnel. RFC 1928.

const VERSION = 0x05
const NO_AUTHENTICATION = 0x00
const USER_AND_PASSWORD = 0x02
const NO_ACCEPTABLE_METHOD = 0xff
const COMMAND_CONNECT = 0x01
const ADDRESS = { v4: 0x01, domain: 0x03, v6: 0x04 } as const

/** RFC 1929, 1 and 2. */
const CREDENTIALS = { version: 0x01, accepted: 0x00, refused: 0x01 } as const

/** RFC 1928, 6. */
const REPLY = {
  succeeded: 0x00,
  generalFailure: 0x01,
  notAllowedByRuleset: 0x02,
  networkUnreachable: 0x03,
  hostUnreachable: 0x04,
  connectionRefused: 0x05,
  commandNotSupported: 0x07,
  addressTypeNotSupported: 0x08,
} as const

interface Socks5Options {
  /** A client has this long for greeting and request together. */
  readonly handshakeMs: number
  readonly auth: ProxyAuth
  readonly logger: Logger
  /**
   * Admits and serves the tunnel. Calls `accepted` when the client may speak; what it throws before that
   * becomes the protocol's own reply.
   */
  readonly tunnel: (socket: Socket, target: Target, accepted: () => void) => Promise<void>
}

/**
 * Serves one SOCKS5 client: no authentication or RFC 1929, CONNECT only, by name, IPv4 or IPv6.
 *
 * @throws what is a fault of ours in the handshake.
 */
export async function serveSocks5(
  socket: Socket,
  { handshakeMs, auth, logger, tunnel }: Socks5Options,
): Promise<void> {
  const timer = setTimeout(() => socket.destroy(), handshakeMs)
  try {
    const target = await readRequest(socket, auth)
    clearTimeout(timer)
    if (target === undefined) return
    let replied = false
    try {
      await tunnel(socket, target, () => {
        replied = true
        socket.write(reply(REPLY.succeeded))
      })
    } catch (error) {
      logger.warn({ method: 'SOCKS5', host: target.authority, problem: reasonOf(error) }, 'refused')
      if (replied) socket.destroy()
      else closeWith(socket, reply(replyFor(error)))
    }
  } catch (error) {
    // The client left in the middle of the handshake, or took too long.
    if (!socket.readableEnded && !socket.destroyed) throw error
    socket.destroy()
  } finally {
    clearTimeout(timer)
  }
}

/** Undefined when the client was refused. @throws when it left. */
async function readRequest(socket: Socket, auth: ProxyAuth): Promise<Target | undefined> {
  const greeting = await take(socket, 2)
  const methods = await take(socket, greeting[1] ?? 0)
  const method = chosenMethod(methods, auth, socket)
  if (method === NO_ACCEPTABLE_METHOD) {
    closeWith(socket, Buffer.from([VERSION, NO_ACCEPTABLE_METHOD]))
    return undefined
  }
  socket.write(Buffer.from([VERSION, method]))
  if (method === USER_AND_PASSWORD && !(await readCredentials(socket, auth))) {
    closeWith(socket, Buffer.from([CREDENTIALS.version, CREDENTIALS.refused]))
    return undefined
  }

  const [version, command, , addressType] = await take(socket, 4)
  if (version !== VERSION) return refuse(socket, REPLY.generalFailure)
  // The whole request is read before it is refused: unread bytes would turn the reply into a reset.
  const host = await readAddress(socket, addressType)
  if (host === undefined) return refuse(socket, REPLY.addressTypeNotSupported)
  const port = (await take(socket, 2)).readUInt16BE(0)
  if (command !== COMMAND_CONNECT) return refuse(socket, REPLY.commandNotSupported)
  try {
    return makeTarget(host, port)
  } catch {
    return refuse(socket, REPLY.generalFailure)
  }
}

/** Who need not show a password but can do nothing else shows it anyway, and it must be right. */
function chosenMethod(offered: Buffer, auth: ProxyAuth, socket: Socket): number {
  if (!auth.isFor(socket) && offered.includes(NO_AUTHENTICATION)) return NO_AUTHENTICATION
  return auth.isOn && offered.includes(USER_AND_PASSWORD) ? USER_AND_PASSWORD : NO_ACCEPTABLE_METHOD
}

/** RFC 1929. Whether what the client showed is right; if so, it has been told. */
async function readCredentials(socket: Socket, auth: ProxyAuth): Promise<boolean> {
  const [version, userLength = 0] = await take(socket, 2)
  const user = await take(socket, userLength)
  const [passwordLength = 0] = await take(socket, 1)
  const password = await take(socket, passwordLength)
  if (version !== CREDENTIALS.version) return false
  if (!auth.accepts(user.toString('latin1'), password.toString('latin1'))) return false
  socket.write(Buffer.from([CREDENTIALS.version, CREDENTIALS.accepted]))
  return true
}

async function readAddress(socket: Socket, type: number | undefined): Promise<string | undefined> {
  switch (type) {
    case ADDRESS.v4:
      return [...(await take(socket, 4))].join('.')
    case ADDRESS.v6: {
      const bytes = await take(socket, 16)
      return Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16)).join(':')
    }
    case ADDRESS.domain: {
      const [length = 0] = await take(socket, 1)
      return (await take(socket, length)).toString('latin1')
    }
    default:
      return undefined
  }
}

function refuse(socket: Socket, code: number): undefined {
  closeWith(socket, reply(code))
  return undefined
}

/** The bound address is ours to hide: zeros, as most servers answer. */
function reply(code: number): Buffer {
  return Buffer.from([VERSION, code, 0, ADDRESS.v4, 0, 0, 0, 0, 0, 0])
}

function replyForType(type: string): number {
  switch (type) {
    case 'connection_refused':
      return REPLY.connectionRefused
    case 'destination_ip_unroutable':
    case 'connection_timeout':
      return REPLY.hostUnreachable
    default:
      return REPLY.generalFailure
  }
}

function replyFor(error: unknown): number {
  if (error instanceof BlockedError || error instanceof DialForbiddenError) return REPLY.notAllowedByRuleset
  if (error instanceof SecretWithheldError) return REPLY.notAllowedByRuleset
  if (error instanceof ResolveError || error instanceof TargetError) return REPLY.hostUnreachable
  if (error instanceof UpstreamProxyError) return replyForType(error.type)
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
      return REPLY.connectionRefused
    case 'ENETUNREACH':
      return REPLY.networkUnreachable
    case 'EHOSTUNREACH':
    case 'ETIMEDOUT':
      return REPLY.hostUnreachable
    default:
      return REPLY.generalFailure
  }
}
