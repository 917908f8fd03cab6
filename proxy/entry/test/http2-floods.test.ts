import { once } from 'node:events'
import { constants } from 'node:http2'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { makeAuthority, openRaw, startHttpsOrigin } from '../../../test/lab/harness.js'
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  fields,
  frame,
  framesOf,
  get,
  opening,
} from '../../../test/lab/frames.js'
import { startProxyProcess, type ProxyProcess } from '../../../test/lab/proxy-process.js'
import { folder } from '../../../test/lab/program.js'
import { ResidentPeak } from '../../../test/lab/resident-peak.js'

// Promise: a client that floods its HTTP/2 connection loses that connection, and nobody else loses anything: the
// proxy answers meanwhile, keeps its memory, and gets its descriptors back.

const MIB = 1024 * 1024
/** What a flood may come to before its connection must be closed; a thousandth of it would do for some. */
const FLOOD_BYTES = 64 * MIB
/** What the proxy may need for all floods together, beyond what it had when idle. */
const ROOM_BYTES = 64 * MIB
/** Below what a test file has, above what a machine needs that has other things to do. */
const LIMIT_MS = 100_000
const BURST_FRAMES = 500
/** So that asking for health is no flood of its own. */
const ASK_EVERY_MS = 20

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_INTERNAL_ERROR } = constants

interface Flood {
  readonly what: string
  /** What is said once, before the flood. */
  readonly first?: Buffer
  /** The next of it; `id` is a stream that was not there before. */
  burst(id: () => number): Buffer
  /**
   * Each frame is answered by one of its size, and no burst is sent before the last was answered. What notices is
   * then our own gauge and not nghttp2, which ends the connection at once where a thousand answers wait to be sent.
   */
  readonly acknowledged?: boolean
  /** The answers are not read. */
  readonly deaf?: boolean
}

const many = (one: () => Buffer): Buffer => Buffer.concat(Array.from({ length: BURST_FRAMES }, one))

function floodsAt(at: string): readonly Flood[] {
  const post = fields([':method', 'POST'], [':scheme', 'https'], [':authority', at], [':path', '/'])
  const begun = frame(FRAME.headers, 0, 1, get(at))
  const pings = many(() => frame(FRAME.ping, 0, 0, Buffer.alloc(8)))
  const settings = many(() => frame(FRAME.settings, 0, 0))
  const emptyData = many(() => frame(FRAME.data, 0, 1))
  const field = fields(['x', 'y'])
  const cancel = Buffer.from([0, 0, 0, constants.NGHTTP2_CANCEL])
  return [
    { what: 'PING', burst: () => pings, acknowledged: true },
    { what: 'PING, and the answers are not read', burst: () => pings, deaf: true },
    { what: 'SETTINGS', burst: () => settings, acknowledged: true },
    { what: 'SETTINGS, and the answers are not read', burst: () => settings, deaf: true },
    {
      what: 'rapid reset',
      burst: (id) =>
        many(() => {
          const stream = id()
          return Buffer.concat([
            frame(FRAME.headers, END_HEADERS | END_STREAM, stream, get(at)),
            frame(FRAME.rstStream, 0, stream, cancel),
          ])
        }),
    },
    {
      what: 'empty DATA',
      first: frame(FRAME.headers, END_HEADERS, 1, post),
      burst: () => emptyData,
    },
    {
      what: 'CONTINUATION with a field each',
      first: begun,
      burst: () => many(() => frame(FRAME.continuation, 0, 1, field)),
    },
    {
      what: 'CONTINUATION with nothing',
      first: begun,
      burst: () => many(() => frame(FRAME.continuation, 0, 1)),
    },
  ]
}

async function connectHttp2(t: Test, proxy: ProxyProcess, at: string): Promise<TLSSocket> {
  const raw = await openRaw(t, proxy.port, `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const socket = connectTls({
    socket: raw.socket,
    ca: readFileSync(join(proxy.dir, 'proxy', 'certs', 'ca.crt')),
    servername: 'localhost',
    ALPNProtocols: ['h2'],
  })
  socket.on('error', () => undefined)
  // Half open as the connection below it, it would not close by itself.
  socket.once('end', () => socket.destroy())
  await once(socket, 'secureConnect')
  t.equal(socket.alpnProtocol, 'h2')
  return socket
}

interface End {
  readonly sentBytes: number
  /** Of GOAWAY, where it was read: a connection that is reset takes what it was about to say with it. */
  readonly code: number | undefined
}

/** Floods until the connection is closed, or until it was too much. */
async function flood(socket: TLSSocket, { first, burst, acknowledged, deaf }: Flood): Promise<End> {
  // Not `once` of node:events, which rejects where the connection is reset.
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const next = (event: string): Promise<unknown> =>
    Promise.race([new Promise((resolve) => socket.once(event, resolve)), closed])
  const answer: Buffer[] = []
  let answeredBytes = 0
  if (deaf !== true) {
    socket.on('data', (chunk: Buffer) => {
      answer.push(chunk)
      answeredBytes += chunk.length
    })
  }
  let stream = -1
  const id = (): number => (stream += 2)
  socket.write(first === undefined ? opening : Buffer.concat([opening, first]))
  let sentBytes = 0
  while (!socket.destroyed && sentBytes < FLOOD_BYTES) {
    const bytes = burst(id)
    sentBytes += bytes.length
    if (!socket.write(bytes)) await next('drain')
    while (acknowledged === true && answeredBytes < sentBytes && !socket.destroyed) await next('data')
  }
  socket.resume()
  if (sentBytes < FLOOD_BYTES) await closed
  const goaway = [...framesOf(Buffer.concat(answer))].find(({ type }) => type === FRAME.goaway)
  return { sentBytes, code: goaway?.payload.readUInt32BE(4) }
}

t.test('each flood ends its own connection and nothing else', { timeout: LIMIT_MS }, async (t) => {
  const dir = folder(t)
  const authority = await makeAuthority(dir)
  // Never answers, so that what is cancelled was under way.
  const { port, server } = await startHttpsOrigin(
    t,
    authority,
    'localhost',
    (request) => void request.resume(),
  )
  t.teardown(() => server.closeAllConnections())
  const proxy = await startProxyProcess(t, { tls: { upstream_ca: [join(dir, 'ca.crt')] } })
  const at = `localhost:${port}`

  // What the first connection brings with it, such as the certificate's context, is no leak.
  const warm = await connectHttp2(t, proxy, at)
  warm.destroy()
  await proxy.assertHealthy()
  const descriptors = proxy.descriptors()
  const idleBytes = await proxy.residentBytes()
  const peak = new ResidentPeak(t, proxy.pid)

  for (const one of floodsAt(at)) {
    const socket = await connectHttp2(t, proxy, at)
    const flooding = flood(socket, one)
    let over = false
    void flooding.finally(() => (over = true))
    do {
      await proxy.assertHealthy()
      await delay(ASK_EVERY_MS)
    } while (!over)
    const { sentBytes, code } = await flooding
    t.ok(sentBytes < FLOOD_BYTES, `${one.what}: closed, ${sentBytes} bytes having been sent at the most`)
    if (one.acknowledged === true) t.equal(code, NGHTTP2_ENHANCE_YOUR_CALM, `${one.what}: told why`)
    else t.ok([undefined, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_INTERNAL_ERROR].includes(code), `code ${code}`)
    await proxy.assertHealthy()
  }

  const { peakBytes } = peak.stop()
  t.ok(peakBytes < idleBytes + ROOM_BYTES, `${peakBytes} bytes resident, ${idleBytes} when idle`)
  for (const what of ['pings', 'settings']) t.match(proxy.log(), `too many ${what}`)
  server.closeAllConnections()
  t.strictSame(await proxy.leftDescriptors(descriptors), [], 'no descriptor is left')
})
