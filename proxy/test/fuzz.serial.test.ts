import { connect as connectTcp, type Socket } from 'node:net'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { ConfigError } from '../../config/yaml/problem.js'
import { loadConfigText } from '../../config/layers/load.js'
import { startHttpOrigin } from '../../test/lab/harness.js'
import { END_HEADERS, END_STREAM, FRAME, frame, get, opening } from '../../test/lab/frames.js'
import { askApi, startProxyProcess, type ProxyProcess } from '../../test/lab/proxy-process.js'

// Bytes made from a seed, at every place where the proxy reads some. Whatever they are, it goes on answering,
// says nothing of an uncaught error, and in the end holds nothing it did not hold before.
//
//   DISCOBOT_FUZZ_SEED=1 DISCOBOT_FUZZ_SECONDS=600 node dist/proxy/test/fuzz.serial.test.js

const SECONDS = Number(process.env['DISCOBOT_FUZZ_SECONDS'] ?? 30)
const SEED = Number(process.env['DISCOBOT_FUZZ_SEED'] ?? Date.now() % 0x7fff_ffff)
/** Connections at a time: each run of a property opens so many. */
const BATCH = 8
/** A peer that owes us nothing may leave a connection open; then we do. */
const PATIENCE_MS = 150

interface Talk {
  readonly pieces: readonly Buffer[]
  readonly ending: 'end' | 'reset'
}

const TOKENS = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '%',
  '#',
  '@',
  '\\',
  '[',
  ']',
  '[::1]',
  '127.1',
  '..',
  '\xff',
  'Host: other.test\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: 99999999999999999999\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: gzip\r\n',
  'Connection: close\r\n',
  'Connection: content-length\r\n',
  'Connection: Upgrade\r\nUpgrade: websocket\r\n',
  'Connection: Upgrade\r\nUpgrade: h2c\r\n',
  'Expect: 100-continue\r\n',
  'Range: bytes=0-1\r\n',
  'If-None-Match: *\r\n',
  'TE: trailers\r\n',
  'HTTP/1.0',
  'HTTP/2.0',
  'CONNECT ',
  'GET ',
  'HEAD ',
  '0\r\n\r\n',
  'ffffffff\r\n',
  '5;x="',
  'x'.repeat(1_000),
  'X: y\r\n'.repeat(50),
]

/** A valid text with a few things done to it, in pieces. */
function mutated(texts: fc.Arbitrary<string>): fc.Arbitrary<Buffer> {
  const place = fc.double({ min: 0, max: 1, noNaN: true })
  const change = fc.oneof(
    fc.record({ kind: fc.constant('insert' as const), at: place, what: fc.constantFrom(...TOKENS) }),
    fc.record({ kind: fc.constant('delete' as const), at: place, size: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ kind: fc.constant('repeat' as const), at: place, size: fc.integer({ min: 1, max: 200 }) }),
    fc.record({ kind: fc.constant('byte' as const), at: place, byte: fc.nat(255) }),
  )
  return fc.tuple(texts, fc.array(change, { maxLength: 5 })).map(([text, changes]) => {
    let result = text
    for (const one of changes) {
      const at = Math.floor(one.at * result.length)
      const [before, after] = [result.slice(0, at), result.slice(at)]
      switch (one.kind) {
        case 'insert':
          result = before + one.what + after
          break
        case 'delete':
          result = before + after.slice(one.size)
          break
        case 'repeat':
          result = before + after.slice(0, one.size) + after
          break
        case 'byte':
          result = before + String.fromCharCode(one.byte) + after.slice(1)
      }
    }
    return Buffer.from(result, 'latin1')
  })
}

/** The same bytes cut in pieces, and how the client leaves. */
function talk(bytes: fc.Arbitrary<Buffer>): fc.Arbitrary<Talk> {
  return fc
    .tuple(
      bytes,
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }),
      fc.constantFrom('end' as const, 'reset' as const),
    )
    .map(([whole, cuts, ending]) => {
      const marks = [
        0,
        ...cuts.map((cut) => Math.floor(cut * whole.length)).sort((a, b) => a - b),
        whole.length,
      ]
      return { ending, pieces: marks.slice(1).map((mark, at) => whole.subarray(marks[at], mark)) }
    })
}

async function say(socket: Socket, { pieces, ending }: Talk): Promise<void> {
  socket.on('error', () => undefined).resume()
  for (const piece of pieces) {
    if (socket.destroyed) break
    // A turn of the event loop between two of them, or the kernel would join them.
    await new Promise<void>((resolve) => socket.write(piece, () => setImmediate(resolve)))
  }
  if (ending === 'reset') socket.destroy()
  else socket.end()
  const timer = setTimeout(() => socket.destroy(), PATIENCE_MS)
  await either(socket)
  clearTimeout(timer)
}

/** Resolves with whether `event` came; with false once the connection is closed. */
function either(socket: Socket, event = 'close'): Promise<boolean> {
  return new Promise((resolve) => {
    if (socket.closed) resolve(false)
    socket.once(event, () => resolve(true)).once('close', () => resolve(false))
  })
}

function connected(port: number): Promise<Socket> {
  const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => undefined)
  return new Promise((resolve, reject) => socket.once('connect', () => resolve(socket)).once('error', reject))
}

async function tunnelTo(proxy: ProxyProcess, target: string): Promise<Socket> {
  const socket = await connected(proxy.port)
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  await either(socket, 'readable')
  socket.read()
  return socket
}

/** TLS with ALPN h2, inside CONNECT. */
async function http2To(proxy: ProxyProcess, target: string): Promise<Socket> {
  const socket = await tunnelTo(proxy, target)
  const secure = connectTls({ socket, ALPNProtocols: ['h2'], rejectUnauthorized: false })
  secure.on('error', () => undefined).once('close', () => socket.destroy())
  await either(secure, 'secureConnect')
  return secure
}

interface Place {
  readonly name: string
  readonly share: number
  readonly talks: fc.Arbitrary<Talk>
  open(): Promise<Socket>
}

function placesOf(proxy: ProxyProcess, originPort: number): Place[] {
  const at = `127.0.0.1:${originPort}`
  const bytes = fc.uint8Array({ maxLength: 600 }).map((array) => Buffer.from(array))
  const first = fc.constantFrom(0x00, 0x04, 0x05, 0x16, 0x47, 0x0d, 0x80, 0xff)
  const request = (target: string): fc.Arbitrary<string> =>
    fc.constantFrom(
      `GET ${target} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
      `HEAD ${target} HTTP/1.0\r\nHost: ${at}\r\nConnection: keep-alive\r\n\r\n`,
      `POST ${target} HTTP/1.1\r\nHost: ${at}\r\nContent-Length: 5\r\n\r\n12345`,
      `PUT ${target} HTTP/1.1\r\nHost: ${at}\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\n12345\r\n0\r\nX: y\r\n\r\n`,
      `GET ${target} HTTP/1.1\r\nHost: ${at}\r\n\r\nGET ${target} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
      `GET ${target}pool/main/a/a.deb HTTP/1.1\r\nHost: ${at}\r\nRange: bytes=1-3,5-\r\nIf-Range: "x"\r\n\r\n`,
      `GET ${target} HTTP/1.1\r\nHost: ${at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
      `OPTIONS * HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    )
  const connect = `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`
  const socks = Buffer.from([5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, originPort >> 8, originPort & 0xff]).toString(
    'latin1',
  )
  const socksByName = `\x05\x01\x00\x05\x01\x00\x03\x09localhost${String.fromCharCode(originPort >> 8, originPort & 0xff)}`
  const anyFrame = fc
    .record({
      type: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.nat(255)),
      flags: fc.oneof(fc.constantFrom(0, 1, 4, 5, 8, 0x20, 0x2d), fc.nat(255)),
      stream: fc.oneof(fc.constantFrom(0, 1, 3, 5, 2, 0x7fff_ffff), fc.nat(0xffff_ffff)),
      payload: fc.oneof(
        fc.constant(get(at)),
        bytes,
        fc.uint8Array({ minLength: 4, maxLength: 6 }).map((array) => Buffer.from(array)),
      ),
    })
    .map(({ type, flags, stream, payload }) => frame(type, flags, stream, payload))
  const goodFrame = fc.constantFrom(
    frame(FRAME.headers, END_HEADERS | END_STREAM, 1, get(at)),
    frame(FRAME.headers, END_HEADERS, 3, get(at)),
    frame(FRAME.data, END_STREAM, 3, Buffer.from('12345')),
    frame(FRAME.headers, END_STREAM, 5, get(at).subarray(0, 10)),
    frame(FRAME.continuation, END_HEADERS, 5, get(at).subarray(10)),
    frame(FRAME.ping, 0, 0, Buffer.alloc(8)),
    frame(FRAME.settings, 1, 0),
  )
  const frames = fc
    .tuple(fc.array(fc.oneof(goodFrame, anyFrame), { maxLength: 12 }), fc.boolean())
    .map(([list, proper]) => Buffer.concat([proper ? opening : opening.subarray(0, 24), ...list]))
  const direct = (): Promise<Socket> => connected(proxy.port)
  return [
    {
      name: 'first bytes of a connection',
      share: 1,
      open: direct,
      talks: talk(fc.tuple(first, bytes).map(([byte, rest]) => Buffer.concat([Buffer.from([byte]), rest]))),
    },
    {
      name: 'SOCKS5',
      share: 1,
      open: direct,
      talks: talk(
        mutated(fc.tuple(fc.constantFrom(socks, socksByName), request('/')).map((parts) => parts.join(''))),
      ),
    },
    {
      name: 'CONNECT',
      share: 1,
      open: direct,
      talks: talk(mutated(fc.tuple(fc.constant(connect), request('/')).map((parts) => parts.join('')))),
    },
    {
      name: 'requests in absolute form',
      share: 2,
      open: direct,
      talks: talk(mutated(request(`http://${at}/`))),
    },
    {
      name: 'what is in a tunnel',
      share: 1,
      talks: talk(fc.oneof(bytes, mutated(request('/')))),
      open: () => tunnelTo(proxy, at),
    },
    { name: 'HTTP/2 frames', share: 2, open: () => http2To(proxy, at), talks: talk(frames) },
  ]
}

t.test(
  'no bytes end the proxy, silence it, or stay with it',
  { timeout: SECONDS * 1_000 + 180_000 },
  async (t) => {
    t.comment(`DISCOBOT_FUZZ_SEED=${SEED} DISCOBOT_FUZZ_SECONDS=${SECONDS}`)
    const { server, port } = await startHttpOrigin(t, (request, response) => {
      request.resume().on('end', () => response.end('fine'))
      response.on('error', () => undefined)
    })
    server.on('upgrade', (_request, socket) => socket.destroy())
    // Nothing that a changed name may become is ever asked for outside of this machine.
    const proxy = await startProxyProcess(t, {
      allowlist: { enabled: true, domains: ['localhost', '127.0.0.1'] },
      timeouts: { headers: '2s', keep_alive: '2s', idle: '3s' },
    })
    const places = placesOf(proxy, port)
    for (const { open } of places) await say(await open(), { pieces: [], ending: 'end' })
    await proxy.assertHealthy()
    const before = await settled(proxy)

    const shares = places.reduce((sum, { share }) => sum + share, 2)
    for (const { name, share, talks, open } of places) {
      const runs = await fuzz(
        share / shares,
        fc.array(talks, { minLength: BATCH, maxLength: BATCH }),
        async (batch) => {
          await Promise.all(batch.map(async (one) => say(await open(), one)))
          await proxy.assertHealthy()
        },
      )
      t.ok(runs > 0, `${name}: ${runs * BATCH} connections`)
    }
    // Before the configuration is touched, and its time limits with it.
    await nothingIsLeft(t, proxy, before)
    await fuzzConfiguration(t, proxy, 2 / shares)
    await proxy.assertHealthy()
    await nothingIsLeft(t, proxy, before)
    t.notMatch(
      proxy.log(),
      /uncaught|unhandled|TypeError|RangeError|ReferenceError|AssertionError|ERR_INTERNAL/i,
    )
  },
)

async function nothingIsLeft(t: Test, proxy: ProxyProcess, before: readonly string[]): Promise<void> {
  t.strictSame(
    await proxy.leftDescriptors(before),
    [],
    `no more descriptors than the ${before.length} before`,
  )
}

/** What is open once nothing that the warm-up left is closed any more. */
async function settled(proxy: ProxyProcess): Promise<readonly string[]> {
  for (let before = proxy.descriptors(); ;) {
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    const now = proxy.descriptors()
    if (now.length >= before.length) return now
    before = now
  }
}

/** Runs a property for its part of the time. What it found is in the error, with the seed. @returns how often it ran. */
async function fuzz<T>(
  part: number,
  values: fc.Arbitrary<T>,
  check: (value: T) => Promise<void>,
): Promise<number> {
  let runs = 0
  const property = fc.asyncProperty(values, async (value) => {
    await check(value)
    runs += 1
  })
  await fc.assert(property, {
    seed: SEED,
    numRuns: Number.MAX_SAFE_INTEGER,
    interruptAfterTimeLimit: part * SECONDS * 1_000,
    // A proxy that has ended fails whatever comes next: there is nothing to narrow down to.
    endOnFailure: true,
  })
  return runs
}

/** Texts that are nearly a configuration: the loader has its one error for them, and the running proxy says 422. */
async function fuzzConfiguration(t: Test, proxy: ProxyProcess, part: number): Promise<void> {
  const shipped = readFileSync(new URL('../../../config/default.yaml', import.meta.url), 'latin1')
  const lines = shipped.split('\n')
  const pieces = fc
    .tuple(fc.nat(lines.length), fc.integer({ min: 1, max: 40 }))
    .map(([from, count]) => `${lines.slice(from, from + count).join('\n')}\n`)
  const yaml = [
    '&a',
    '*a',
    '<<: *a',
    '!!js/function',
    '- ',
    '? ',
    '|',
    '>',
    "'",
    '"',
    '{',
    '}',
    '__proto__: 1',
    '\t',
    '---\n',
    '%YAML 1.2\n',
    '1e999',
    '.inf',
    '0x',
    '~',
  ]
  const texts = fc
    .tuple(mutated(pieces), fc.array(fc.constantFrom(...yaml), { maxLength: 3 }))
    .map(([text, extra]) => text.toString('latin1') + extra.join(''))
  const loads = await fuzz(part / 2, texts, (text) => {
    try {
      loadConfigText(text, 'config.yaml')
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
    }
    return Promise.resolve()
  })
  const token = readFileSync(join(proxy.dir, 'proxy', 'api-token'), 'latin1').trim()
  // No file is to appear where a changed path points.
  const harmless = texts.filter((text) => !/file|dir|upstream_ca/.test(text))
  const puts = await fuzz(part / 2, harmless, async (text) => {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/yaml' }
    const status = await askApi(proxy.apiPort, 'PUT', '/api/config', headers, Buffer.from(text, 'latin1'))
    if (![200, 400, 422].includes(status)) throw new Error(`PUT /api/config answered ${status}`)
    await proxy.assertHealthy()
  })
  t.ok(loads > 0 && puts > 0, `configuration: ${loads} texts loaded, ${puts} put to the API`)
}
