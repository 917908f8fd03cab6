import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  request as requestHttp,
  type ClientRequest,
  type IncomingMessage,
  type RequestListener,
} from 'node:http'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { makeAuthority, openRaw, startHttpOrigin, startHttpsOrigin } from '../../test/lab/harness.js'
import { startProxyProcess, type ProxyProcess } from '../../test/lab/proxy-process.js'
import { folder } from '../../test/lab/program.js'
import { ResidentPeak, residentBytes } from '../../test/lab/resident-peak.js'

// Promise: an upload of any size passes through the proxy as it was sent, sized or in chunks, over plain HTTP and
// over TLS that is ended and begun again, and the proxy's memory does not grow with it, nor with a server that
// stops reading for a while.

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const PLAIN_BYTES = 5 * GIB
const SECURE_BYTES = GIB
/** After these it has the buffers and the heap that any upload needs; more of them must not come with more bytes. */
const WARM_BYTES = GIB
/** What V8 has not collected yet: 9 MB at most on Node 20, and 28 MB on Node 24 on a busy machine. */
const ROOM_BYTES = 48 * MIB

/** For each of the two; a quiet machine needs 25 s. */
const LIMIT_MS = 300_000

/** No power of two: bytes that are lost or come twice in any buffer's size do not look like the right ones. */
const PATTERN_BYTES = 1_000_003
const pattern = randomBytes(PATTERN_BYTES)
/** Twice, so that whatever begins in the first ends in one piece. */
const twice = Buffer.concat([pattern, pattern])

/** How often the server stops reading, and for how long: a sender that is not held back sends 50 MiB and more meanwhile. */
const PAUSE_EVERY_BYTES = 900 * MIB
const PAUSE_MS = 250

interface Arrival {
  readonly length: string | undefined
  readonly coding: string | undefined
  readonly bytes: number
  readonly right: boolean
}

/** Answers with what arrived, once all of it did; every byte is compared. */
const receive: RequestListener = (request, response) => {
  let bytes = 0
  let right = true
  request.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length;) {
      const from = (bytes + at) % PATTERN_BYTES
      const count = Math.min(chunk.length - at, PATTERN_BYTES)
      right &&= twice.compare(chunk, at, at + count, from, from + count) === 0
      at += count
    }
    const pauses = Math.floor(bytes / PAUSE_EVERY_BYTES)
    bytes += chunk.length
    if (Math.floor(bytes / PAUSE_EVERY_BYTES) === pauses) return
    request.pause()
    setTimeout(() => request.resume(), PAUSE_MS)
  })
  request.once('end', () => {
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers
    response.end(JSON.stringify({ length, coding, bytes, right }))
  })
}

async function send(request: ClientRequest, total: number): Promise<Arrival> {
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  const failed = new Promise<never>((_resolve, reject) => request.once('error', reject))
  for (let sent = 0; sent < total;) {
    const piece = pattern.subarray(0, Math.min(PATTERN_BYTES, total - sent))
    sent += piece.length
    if (!request.write(piece)) await Promise.race([once(request, 'drain'), failed])
  }
  request.end()
  const [response] = await Promise.race([answered, failed])
  let body = ''
  for await (const chunk of response) body += String(chunk)
  return JSON.parse(body) as Arrival
}

/** With a length where `length` says one, else in chunks. */
type Begin = (length: number | undefined) => ClientRequest | Promise<ClientRequest>

const FRAMINGS = ['sized', 'chunked'] as const

async function upload(t: Test, proxy: ProxyProcess, total: number, begin: Begin): Promise<void> {
  t.match(await send(await begin(undefined), WARM_BYTES), { bytes: WARM_BYTES, right: true })
  for (const framing of FRAMINGS) {
    const sized = framing === 'sized'
    const idleBytes = residentBytes(proxy.pid)
    const peak = new ResidentPeak(t, proxy.pid)
    const began = performance.now()
    const arrival = await send(await begin(sized ? total : undefined), total)
    const { peakBytes, samples } = peak.stop()
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    t.comment(
      `${framing}: ${seconds} s, ${peakBytes - idleBytes} bytes above ${idleBytes} in ${samples} looks`,
    )
    t.strictSame(
      arrival,
      { ...(sized ? { length: String(total) } : { coding: 'chunked' }), bytes: total, right: true },
      `${framing}: it arrives as it was sent`,
    )
    t.ok(samples > 10, `${framing}: looked at while it passed`)
    t.ok(
      peakBytes < idleBytes + ROOM_BYTES,
      `${framing}: ${peakBytes} bytes resident, ${idleBytes} before it`,
    )
    await proxy.assertHealthy()
  }
}

const framed = (length: number | undefined): Record<string, string | number> =>
  length === undefined ? { 'Transfer-Encoding': 'chunked' } : { 'Content-Length': length }

t.test('10 GiB over plain HTTP', { timeout: LIMIT_MS }, async (t) => {
  const { port } = await startHttpOrigin(t, receive)
  const proxy = await startProxyProcess(t, {})
  await upload(t, proxy, PLAIN_BYTES, (length) =>
    requestHttp({
      ...{ host: '127.0.0.1', port: proxy.port, agent: false, method: 'POST' },
      path: `http://127.0.0.1:${port}/`,
      headers: { Host: `127.0.0.1:${port}`, ...framed(length) },
    }),
  )
})

t.test('2 GiB over intercepted TLS', { timeout: LIMIT_MS }, async (t) => {
  const dir = folder(t)
  const { port } = await startHttpsOrigin(t, await makeAuthority(dir), 'localhost', receive)
  const proxy = await startProxyProcess(t, { tls: { upstream_ca: [join(dir, 'ca.crt')] } })
  const ca = readFileSync(join(proxy.dir, 'proxy', 'certs', 'ca.crt'))
  const at = `localhost:${port}`
  const tunnel = async (): Promise<TLSSocket> => {
    const raw = await openRaw(t, proxy.port, `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
    await raw.until(/\r\n\r\n$/)
    raw.socket.removeAllListeners('data')
    const socket = connectTls({
      socket: raw.socket,
      ca,
      servername: 'localhost',
      ALPNProtocols: ['http/1.1'],
    })
    await once(socket, 'secureConnect')
    return socket
  }
  await upload(t, proxy, SECURE_BYTES, async (length) => {
    const socket = await tunnel()
    return requestHttp({
      ...{ createConnection: () => socket, method: 'POST', path: '/' },
      headers: { Host: at, ...framed(length) },
    })
  })
})
