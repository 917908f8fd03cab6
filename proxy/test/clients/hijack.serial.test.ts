import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { openRaw, startHttpOrigin, startHttpsOrigin, type Origin } from '../../../test/lab/harness.js'
import { startClientLab, type ClientLab } from './client-lab.js'

// `Upgrade: tcp`, as docker attach and exec use it: raw bytes after the 101, and each side ends by itself.

const ATTACH = '/v1.41/containers/abc/attach?stream=1&stdin=1'
const LARGE = 4 * 1024 * 1024

/** Hands the raw connection to `attached` once it has agreed to switch. */
function agreeing({ server }: Origin, attached: (socket: Duplex) => void): void {
  server.on('upgrade', (_request, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    // Node's servers over TLS would end their side with the client's.
    socket.allowHalfOpen = true
    // As Docker answers.
    socket.write(
      'HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n',
    )
    attached(socket)
  })
}

/** Everything until the other side ends; our own side stays open, which async iteration would close. */
function readAll(socket: Duplex): Promise<Buffer> {
  const pieces: Buffer[] = []
  return new Promise((resolve, reject) => {
    socket.on('data', (piece: Buffer) => pieces.push(piece))
    socket.once('end', () => resolve(Buffer.concat(pieces)))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed without an end')))
    socket.resume()
  })
}

const sha = (content: Buffer): string => createHash('sha256').update(content).digest('hex')

/** A connection on which `Upgrade: tcp` was agreed to, the bytes of both sides still to come. */
async function attach(t: Test, lab: ClientLab, way: Way, port: number): Promise<Socket> {
  const target = `docker.test:${port}`
  const first = way === 'absolute URI' ? undefined : `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`
  const raw = await openRaw(t, lab.proxy.port, first)
  if (first !== undefined) await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  raw.socket.removeAllListeners('end')
  let socket: Socket = raw.socket
  if (way === 'TLS in CONNECT') {
    socket = connectTls({ socket, servername: 'docker.test', ca: lab.proxy.caPem })
    await once(socket, 'secureConnect')
  }
  const uri = way === 'absolute URI' ? `http://${target}${ATTACH}` : ATTACH
  socket.write(`POST ${uri} HTTP/1.1\r\nHost: ${target}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`)
  let head = Buffer.alloc(0)
  while (!head.includes('\r\n\r\n'))
    head = Buffer.concat([head, ((await once(socket, 'data')) as [Buffer])[0]])
  socket.pause()
  t.match(head.toString(), /^HTTP\/1\.1 101 UPGRADED\r\n/)
  const rest = head.subarray(head.indexOf('\r\n\r\n') + 4)
  if (rest.length > 0) socket.unshift(rest)
  return socket
}

const WAYS = ['absolute URI', 'CONNECT', 'TLS in CONNECT'] as const
type Way = (typeof WAYS)[number]

for (const way of WAYS) {
  const origin = (t: Test, lab: ClientLab): Promise<Origin> => {
    const refuse = (_request: unknown, response: { end(): unknown }): void => void response.end()
    return way === 'TLS in CONNECT'
      ? startHttpsOrigin(t, lab.proxy.originAuthority, 'docker.test', refuse)
      : startHttpOrigin(t, refuse)
  }

  t.test(`${way}: the client ends its input, and reads the output that follows`, async (t) => {
    const lab = await startClientLab(t)
    const docker = await origin(t, lab)
    const output = randomBytes(LARGE)
    agreeing(docker, (socket) => {
      void readAll(socket).then((input) => {
        socket.write(`${sha(input)}\n`)
        socket.end(output)
      })
    })
    const socket = await attach(t, lab, way, docker.port)
    const input = randomBytes(LARGE)
    socket.end(input)
    const answer = await readAll(socket)
    t.equal(answer.subarray(0, 65).toString(), `${sha(input)}\n`)
    t.ok(answer.subarray(65).equals(output))
    await lab.logged(/POST docker\.test:\d+\/v1\.41\/containers\/abc\/attach 101/)
  })

  t.test(`${way}: the container ends its output, and is sent the input that follows`, async (t) => {
    const lab = await startClientLab(t)
    const docker = await origin(t, lab)
    const output = randomBytes(LARGE)
    const received = new Promise<string>((resolve) => {
      agreeing(docker, (socket) => {
        socket.end(output)
        void readAll(socket).then((input) => resolve(sha(input)))
      })
    })
    const socket = await attach(t, lab, way, docker.port)
    t.ok((await readAll(socket)).equals(output))
    const input = randomBytes(LARGE)
    socket.end(input)
    t.equal(await received, sha(input))
  })

  t.test(`${way}: a container that is cut off is no orderly end`, async (t) => {
    const lab = await startClientLab(t)
    const docker = await origin(t, lab)
    let tcp: Socket | undefined
    docker.server.on('connection', (socket) => (tcp = socket))
    agreeing(docker, (socket) => {
      socket.write('half')
      socket.once('data', () => tcp?.resetAndDestroy())
    })
    const socket = await attach(t, lab, way, docker.port)
    // What comes together with a reset, libuv reads as an orderly end: so the half arrives first.
    t.equal(String(((await once(socket.resume(), 'data')) as [Buffer])[0]), 'half')
    socket.write('and the rest?')
    await t.rejects(readAll(socket), { code: 'ECONNRESET' })
  })
}
