import { createConnection, type Socket } from 'node:net'
import { connect as tlsConnect, type TLSSocket } from 'node:tls'
import { LOOPBACK } from '../../../config/model/paths.js'
import { ORIGIN_PORT } from '../stage/hosts.js'
import { MeasureError } from '../stage/errors.js'

/** Far more than anything measured takes; a peer that hangs must not hang the run. */
const OPEN_LIMIT_MS = 20_000

export interface Destination {
  /** A name of the origin. */
  readonly host: string
  /** PEM of who must have signed the certificate shown. */
  readonly ca: string
  /** Port of the proxy on the loopback address; absent means no proxy. */
  readonly proxyPort?: number
}

/** A TLS connection to the origin as a client would make it, through CONNECT where there is a proxy. */
export async function openSecure(to: Destination): Promise<TLSSocket> {
  const socket = createConnection({
    host: LOOPBACK,
    port: to.proxyPort ?? ORIGIN_PORT,
    noDelay: true,
  })
  const timer = setTimeout(() => socket.destroy(new Error('it took too long')), OPEN_LIMIT_MS)
  try {
    if (to.proxyPort !== undefined) await tunnel(socket, `${to.host}:${ORIGIN_PORT}`)
    return await secure(socket, to)
  } catch (error) {
    socket.destroy()
    throw new MeasureError(`cannot open a connection to ${to.host}: ${String(error)}`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

function tunnel(socket: Socket, authority: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let head = ''
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1')
      if (!head.includes('\r\n\r\n')) return
      socket.pause()
      socket.off('data', onData)
      socket.off('close', onClose)
      const line = head.slice(0, head.indexOf('\r\n'))
      if (line.includes(' 200 ')) resolve()
      else reject(new Error(`the proxy answered ${line}`))
    }
    const onClose = (): void => reject(new Error('the proxy closed the connection'))
    socket.on('data', onData)
    socket.once('error', reject)
    socket.once('close', onClose)
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)
  })
}

function secure(socket: Socket, { host, ca }: Destination): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const encrypted = tlsConnect({ socket, servername: host, ca, ALPNProtocols: ['http/1.1'] })
    encrypted.once('error', reject)
    encrypted.once('close', () => reject(new Error('closed during the handshake')))
    encrypted.once('secureConnect', () => {
      encrypted.off('error', reject)
      // Whoever uses it sees 'close'; a reset in between must not be an uncaught error.
      encrypted.on('error', () => encrypted.destroy())
      resolve(encrypted)
    })
  })
}
