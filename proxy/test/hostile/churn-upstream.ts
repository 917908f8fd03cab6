import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createSecureServer } from 'node:http2'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'

// An upstream that is to be killed at any moment: HTTP, HTTP/2 and an echo, on three ports that stay the same.
//
//   node churn-upstream.js HTTP_PORT HTTPS_PORT ECHO_PORT KEY_FILE CERT_FILE

const PIECE = Buffer.alloc(64 * 1024, 'x')
const PIECES = 64

/** 4 MiB, slowly enough to be killed in the middle. */
async function* body(): AsyncGenerator<Buffer> {
  for (let at = 0; at < PIECES; at += 1) {
    yield PIECE
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

function answer(
  request: Pick<IncomingMessage, 'method' | 'resume' | 'on'>,
  response: Pick<ServerResponse, 'writeHead' | 'end' | 'on'> & NodeJS.WritableStream,
): void {
  response.on('error', () => undefined)
  if (request.method !== 'GET') {
    request.resume()
    request.on('end', () => response.end('taken'))
    return
  }
  response.writeHead(200, { 'Content-Length': PIECE.length * PIECES })
  Readable.from(body())
    .on('error', () => undefined)
    .pipe(response)
}

function echo(socket: Socket): void {
  socket.on('error', () => socket.destroy())
  socket.pipe(socket)
}

const [http, https, tcp, key = '', cert = ''] = process.argv.slice(2)
const plain = createHttpServer(answer)
plain.on('upgrade', (_request, socket: Socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  echo(socket)
})
const secure = createSecureServer(
  { key: readFileSync(key), cert: readFileSync(cert), allowHTTP1: true },
  (request, response) => answer(request as unknown as IncomingMessage, response as unknown as ServerResponse),
)
secure.on('sessionError', () => undefined)
plain.listen(Number(http), '127.0.0.1')
secure.listen(Number(https), '127.0.0.1')
createTcpServer(echo).listen(Number(tcp), '127.0.0.1')
