import { EventEmitter, once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
import type { Test } from 'tap'
import type { Authority } from '../../tls/authority.js'
import { createLeafIssuer } from '../../tls/leaf.js'

/** More than the proxy lets through: what is refused must be refused there. */
const LARGEST_HEAD_BYTES = 1024 * 1024

/**
 * An origin, with and without TLS and for every name, that tells what reached it: each whole request as
 * `METHOD path body`, and what was no request at all as `garbage`. One that breaks off is none.
 *
 * Answers 200 with the path as body, once it has read the request's; `/early…` it answers before.
 */
export class Witness {
  httpPort = 0
  httpsPort = 0
  readonly #seen: string[] = []
  readonly #news = new EventEmitter()

  static async start(t: Test, authority: Authority): Promise<Witness> {
    const witness = new Witness()
    const issuer = createLeafIssuer(authority, Date.now)
    const contextOf = (name: string) => createSecureContext({ key: issuer.keyPem, cert: issuer.issue(name) })
    const listener = (request: IncomingMessage, response: ServerResponse): void =>
      witness.#testify(request, response)
    const http = createHttpServer({ maxHeaderSize: LARGEST_HEAD_BYTES }, listener)
    const https = createHttpsServer(
      {
        maxHeaderSize: LARGEST_HEAD_BYTES,
        key: issuer.keyPem,
        cert: issuer.issue('127.0.0.1'),
        SNICallback: (name, callback) => callback(null, contextOf(name)),
      },
      listener,
    )
    for (const server of [http, https]) {
      // However many: what the proxy adds to the most that it lets through is not the origin's to refuse.
      server.maxHeadersCount = 0
      const sockets = new Set<Socket>()
      server.on('connection', (socket: Socket) => {
        sockets.add(socket)
        socket.once('close', () => sockets.delete(socket))
      })
      server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
        // A connection that is cut in the middle is what a refused upload looks like.
        if (error.code?.startsWith('HPE_') === true && error.code !== 'HPE_INVALID_EOF_STATE') {
          witness.#note(`garbage ${error.code}`)
        }
        socket.destroy()
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      t.teardown(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
    }
    witness.httpPort = (http.address() as AddressInfo).port
    witness.httpsPort = (https.address() as AddressInfo).port
    return witness
  }

  /** What came since the last time this was asked; waits until that is `atLeast` so many. */
  async taken(atLeast = 0): Promise<string[]> {
    while (this.#seen.length < atLeast) await once(this.#news, 'seen')
    return this.#seen.splice(0)
  }

  #note(line: string): void {
    this.#seen.push(line)
    this.#news.emit('seen')
  }

  #testify(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '' } = request
    let body = ''
    const answer = (): void => {
      response.writeHead(200, { 'Content-Length': Buffer.byteLength(url) })
      response.end(method === 'HEAD' ? '' : url)
    }
    request.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')))
    request.once('end', () => {
      this.#note(`${method} ${url} ${body.length > 200 ? `${body.length} bytes` : body}`.replace(/ $/, ''))
      if (!response.writableEnded) answer()
    })
    request.on('error', () => undefined)
    response.on('error', () => undefined)
    if (url.includes('/early')) answer()
  }
}
