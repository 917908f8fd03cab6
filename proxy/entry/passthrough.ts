import type { Socket } from 'node:net'
import { closeWith } from '../message/close-with.js'
import { peek } from '../socket/peek.js'
import { namesTarget } from '../message/request-target.js'
import type { Target } from '../../base/net/target.js'
import { readClientHello, type ClientHello } from '../tls/client-hello.js'
import type { TunnelLog } from '../socket/tunnel-log.js'
import { beginsLikeRequest, tunnelProtocol } from './tunnel-protocol.js'

// client → tunnel to a host of tls.passthrough → its own TLS, untouched

/** RFC 8446, 6: fatal alerts, the only answer a client can read that has said nothing but its hello. */
const UNRECOGNIZED_NAME = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70])
const DECODE_ERROR = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x32])

/** RFC 8446, 5.1: how a record of a handshake begins. */
const HANDSHAKE = 0x16
/** More than the parts of one message are apart, less than a person waits for. */
const UNDECIDED_MS = 300

type First = ClientHello | 'malformed' | 'http' | 'raw'

/**
 * What to do with a tunnel, told from the client's first bytes: the server name of its hello is held against the
 * tunnel's target, as everywhere else. TLS hides all the rest.
 *
 * @param limitMs how long the client may stay silent, if the server does too.
 * @returns `join` for both to be left to themselves; `undecided` for the same with an eye on what the client says; `http` where the client speaks HTTP without TLS, which nobody
 *   asked to leave untouched; `refused` when the client has been told, or is gone.
 */
export async function judgeOpening(
  socket: Socket,
  server: Socket,
  target: Target,
  limitMs: number,
  log: TunnelLog,
): Promise<'join' | 'undecided' | 'http' | 'refused'> {
  const looking = new AbortController()
  const { classify, undecided } = watchOpening(firstOf)
  const spoken = peek(socket, classify, limitMs, looking.signal)
  const serverSpoke = new Promise<'server'>((resolve) => {
    server.once('readable', () => resolve('server')).once('close', () => resolve('server'))
  })
  const first = await Promise.race([spoken, serverSpoke, undecided])
  if (first === undefined) {
    log.closed(undefined, 'the client did not say what it speaks')
    socket.destroy()
    return 'refused'
  }
  if (first === 'server') {
    // One that speaks first is no TLS server, or it has closed.
    looking.abort()
    await spoken
    return 'join'
  }
  if (first === 'undecided') {
    looking.abort()
    await spoken
    return 'undecided'
  }
  if (first === 'raw') return 'join'
  if (first === 'http') return 'http'
  const wrong = whatIsWrong(first, target)
  if (wrong === undefined) return 'join'
  log.closed(undefined, wrong.problem)
  closeWith(socket, wrong.alert)
  return 'refused'
}

/**
 * The same classifier, with a promise that settles when a client has said something that does not tell what it speaks,
 * and does not go on: the server may be waiting for just that. What looks like the beginning of a request or of TLS
 * is waited for.
 */
export function watchOpening<T>(classify: (bytes: Buffer) => T | undefined): {
  readonly classify: (bytes: Buffer) => T | undefined
  readonly undecided: Promise<'undecided'>
} {
  let timer: NodeJS.Timeout | undefined
  let settle = (_how: 'undecided'): void => undefined
  const undecided = new Promise<'undecided'>((resolve) => (settle = resolve))
  return {
    undecided,
    classify: (bytes) => {
      clearTimeout(timer)
      const verdict = classify(bytes)
      const waits = verdict === undefined && bytes[0] !== HANDSHAKE && !beginsLikeRequest(bytes)
      if (waits) timer = setTimeout(() => settle('undecided'), UNDECIDED_MS).unref()
      return verdict
    },
  }
}

function firstOf(bytes: Buffer): First | undefined {
  const protocol = tunnelProtocol(bytes)
  return protocol === 'tls' ? readClientHello(bytes) : protocol
}

function whatIsWrong(
  hello: ClientHello | 'malformed',
  target: Target,
): { readonly problem: string; readonly alert: Buffer } | undefined {
  if (hello === 'malformed') {
    return { problem: 'the client began TLS with a hello that cannot be read', alert: DECODE_ERROR }
  }
  const { serverName } = hello
  if (serverName === undefined || namesTarget(serverName, target)) return undefined
  const named = JSON.stringify(serverName.slice(0, 100))
  return {
    problem: `the TLS server name ${named} does not name ${target.authority}, which the connection is for`,
    alert: UNRECOGNIZED_NAME,
  }
}
