import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

// A client that is to be killed at any moment: fills, uploads, tunnels, switched connections and HTTP/2 through the
// proxy, eight at a time, for ever. What goes wrong is not its concern.
//
//   node churn-client.js PROXY_PORT HTTP_PORT HTTPS_PORT ECHO_PORT

const [proxy = 0, http = 0, https = 0, tcp = 0] = process.argv.slice(2).map(Number)
const LANES = 8
const PIECE = Buffer.alloc(64 * 1024, 'y')
let turn = 0

function ask(
  method: string,
  path: string,
  headers: Record<string, string> = {},
): ReturnType<typeof httpRequest> {
  const at = `127.0.0.1:${http}`
  const request = httpRequest({
    port: proxy,
    host: '127.0.0.1',
    method,
    path: `http://${at}${path}`,
    headers: { Host: at, ...headers },
  })
  request.on('error', () => undefined)
  return request
}

async function ended(emitter: NodeJS.EventEmitter): Promise<void> {
  await new Promise<void>((resolve) => emitter.once('close', resolve))
}

async function get(path: string): Promise<void> {
  const request = ask('GET', path)
  request.on('response', (response) => response.on('error', () => undefined).resume())
  request.end()
  await ended(request)
}

async function upload(): Promise<void> {
  const request = ask('PUT', '/upload')
  request.on('response', (response) => response.on('error', () => undefined).resume())
  for (let at = 0; at < 64 && !request.destroyed; at += 1) {
    await new Promise((resolve) => request.write(PIECE, resolve))
  }
  request.end()
  await ended(request)
}

async function tunnel(port: number): Promise<Socket | undefined> {
  const socket = connectTcp({ port: proxy, host: '127.0.0.1' })
  socket.on('error', () => socket.destroy())
  socket.write(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`)
  await Promise.race([once(socket, 'data'), ended(socket)])
  return socket.destroyed ? undefined : socket
}

/** Says something that is no HTTP, and reads as much back. */
async function talk(socket: Socket): Promise<void> {
  let left = 40 * PIECE.length
  socket.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left <= 0) socket.destroy()
  })
  for (let at = 0; at < 40 && !socket.destroyed; at += 1)
    await new Promise((resolve) => socket.write(PIECE, resolve))
  if (!socket.destroyed) await ended(socket)
}

async function echo(): Promise<void> {
  const socket = await tunnel(tcp)
  if (socket !== undefined) await talk(socket)
}

async function switched(): Promise<void> {
  const request = ask('GET', '/switch', { Connection: 'Upgrade', Upgrade: 'echo' })
  const switching = new Promise<void>((resolve) => {
    request.once('upgrade', (_response, socket: Socket) => {
      socket.on('error', () => socket.destroy())
      void talk(socket).then(resolve)
    })
    request.once('response', (response) => response.resume())
    request.once('close', () => resolve())
  })
  request.end()
  await switching
}

async function http2(): Promise<void> {
  const socket = await tunnel(https)
  if (socket === undefined) return
  const secure = connectTls({ socket, ALPNProtocols: ['h2'], rejectUnauthorized: false })
  secure.on('error', () => socket.destroy())
  await Promise.race([once(secure, 'secureConnect'), ended(socket)])
  if (socket.destroyed) return
  const session = connectHttp2(`https://127.0.0.1:${https}`, { createConnection: () => secure })
  session.on('error', () => undefined)
  const streams = Array.from({ length: 4 }, () =>
    session
      .request({ ':path': '/h2' })
      .on('error', () => undefined)
      .resume(),
  )
  await Promise.all(streams.map(ended))
  session.destroy()
  socket.destroy()
}

async function lane(): Promise<never> {
  for (;;) {
    turn += 1
    const kinds = [
      () => get(`/pool/main/c/churn/${process.pid}-${turn}.deb`),
      () => get('/pool/main/c/churn/shared.deb'),
      () => get(`/plain/${turn}`),
      upload,
      echo,
      switched,
      http2,
    ]
    await kinds[turn % kinds.length]?.().catch(() => undefined)
    // An upstream that has just been killed refuses at once: this is to be load, not a spin.
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

for (let at = 0; at < LANES; at += 1) void lane()
