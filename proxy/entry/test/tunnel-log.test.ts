import { mkdtempSync, readFileSync, rmSync, watch } from 'node:fs'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createLogger, type Logger } from '../../../base/log/logger.js'
import {
  openRaw,
  openTls,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  startTcpOrigin,
  type TestProxy,
} from '../../../test/lab/harness.js'

// Every tunnel that nobody looks into leaves one line, and how a handshake ended is told as it was.

const connectTo = (target: string): string => `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`

interface LogFile {
  readonly logger: Logger
  /** The first whole line that matches, once it is there. */
  line(pattern: RegExp): Promise<string>
  text(): string
}

function logFile(t: Test, format: 'text' | 'json'): LogFile {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-log-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'proxy.log')
  const logger = createLogger({ level: 'info', format, file })
  const text = (): string => readFileSync(file, 'utf8')
  const find = (pattern: RegExp): string | undefined =>
    text()
      .split('\n')
      .slice(0, -1)
      .find((line) => pattern.test(line))
  return {
    logger,
    text,
    line: (pattern) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = find(pattern)
          if (found === undefined) return
          watching.close()
          resolve(found)
        }
        const watching = watch(folder, look)
        t.teardown(() => watching.close())
        look()
      }),
  }
}

/** The fields of a line of JSON, without moment and duration. */
function fields(t: Test, line: string): Record<string, unknown> {
  const { time, duration, ...rest } = JSON.parse(line) as Record<string, unknown>
  t.type(time, 'number')
  t.match(duration, /^\d+ms$/)
  return rest
}

/** Greeting without a password, then CONNECT to a name. */
function socksRequest(host: string, port: number): Buffer {
  const head = [5, 1, 0, 5, 1, 0, 3, host.length]
  return Buffer.from([...head, ...Buffer.from(host), port >> 8, port & 0xff])
}

void t.test('a tunnel says who, where, how much each way and how long, by either protocol', async (t) => {
  const log = logFile(t, 'json')
  const proxy = await startProxy(t, { logger: log.logger, passthrough: ['own.test'] })
  // Speaks first, and again when it has heard: what came before anybody looked counts too.
  const port = await startTcpOrigin(t, (socket) => {
    socket.write('banner!')
    socket.on('data', () => socket.end('bye'))
  })
  const line = { level: 'info', client: '127.0.0.1', sent: 5, received: 10, msg: 'tunnel closed' }

  const byConnect = await openRaw(t, proxy.port, connectTo(`origin.test:${port}`))
  await byConnect.until(/banner!$/)
  byConnect.socket.end('hello')
  await byConnect.closed()
  t.strictSame(fields(t, await log.line(/"CONNECT"/)), {
    ...line,
    method: 'CONNECT',
    host: `origin.test:${port}`,
  })

  const bySocks = await openRaw(t, proxy.port, socksRequest('origin.test', port))
  await bySocks.until(/banner!$/)
  bySocks.socket.end('hello')
  await bySocks.closed()
  t.strictSame(fields(t, await log.line(/"SOCKS5"/)), {
    ...line,
    method: 'SOCKS5',
    host: `origin.test:${port}`,
  })

  const { port: tlsPort } = await startHttpsOrigin(
    t,
    proxy.originAuthority,
    'own.test',
    (_request, response) => void response.end('own'),
  )
  const passed = await openRaw(t, proxy.port, connectTo(`own.test:${tlsPort}`))
  await passed.until(/\r\n\r\n$/)
  passed.socket.removeAllListeners('data')
  const secure = connectTls({
    socket: passed.socket,
    servername: 'own.test',
    ca: proxy.originAuthority.certPem,
  })
  secure.write('GET / HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n')
  secure.resume().once('end', () => secure.end())
  await once(secure, 'end')
  const through = fields(t, await log.line(/own\.test/))
  t.match(through, { level: 'info', method: 'CONNECT', host: `own.test:${tlsPort}`, client: '127.0.0.1' })
  t.ok(Number(through['sent']) > 100 && Number(through['received']) > 500, 'TLS of both sides is counted')
})

void t.test('the same line for people, and why a tunnel was closed that nobody wanted closed', async (t) => {
  const log = logFile(t, 'text')
  const timeouts = { idle: 300, headers: 400 }
  const proxy = await startProxy(t, { logger: log.logger, timeouts })
  const port = await startTcpOrigin(t, (socket) => void socket.write('SSH-2.0-x\r\n'))
  await openRaw(t, proxy.port, connectTo(`quiet.test:${port}`))
  t.match(
    await log.line(/quiet\.test/),
    /WARN {2}tunnel closed +method=CONNECT host=quiet\.test:\d+ client=127\.0\.0\.1 sent=0 received=11 duration=\d+ms problem="nothing flowed for timeouts.idle"$/,
  )

  const cut = await openRaw(t, proxy.port, connectTo(`cut.test:${port}`))
  await cut.until(/SSH-2/)
  cut.socket.resetAndDestroy()
  t.match(
    await log.line(/cut\.test/),
    /INFO {2}tunnel closed +method=CONNECT .* sent=0 received=11 duration=/,
  )

  const nowhere = await openRaw(t, proxy.port, connectTo('nowhere.test:9'))
  await nowhere.until(/\r\n\r\n$/)
  nowhere.socket.write('\0\0')
  t.match(
    await log.line(/nowhere\.test/),
    /WARN .* method=CONNECT host=nowhere\.test:9 .* sent=0 received=0 .*problem=".*ECONNREFUSED/,
  )

  const mute = await openRaw(t, proxy.port, connectTo('mute.test:9'))
  await mute.until(/\r\n\r\n$/)
  t.match(await log.line(/mute\.test/), /WARN .* problem="the client did not say what it speaks"$/)
})

void t.test('bytes after a switch of protocols stand in the line of its request', async (t) => {
  const log = logFile(t, 'json')
  const proxy = await startProxy(t, { logger: log.logger })
  const { port, server } = await startHttpOrigin(t, (_request, response) => void response.end())
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: parrot\r\n\r\nfirst')
    socket.on('data', (data: Buffer) => void socket.end(data))
  })
  const asked = httpRequest({
    port: proxy.port,
    host: '127.0.0.1',
    path: `http://birds.test:${port}/cage?x`,
    headers: { Host: `birds.test:${port}`, Connection: 'Upgrade', Upgrade: 'parrot' },
  })
  asked.end()
  const [, socket] = (await once(asked, 'upgrade')) as [unknown, import('node:net').Socket]
  socket.write('polly')
  socket.resume()
  await once(socket, 'close')
  t.match(fields(t, await log.line(/birds\.test/)), { status: 101, path: '/cage', sent: 5, received: 10 })
})

/** A handshake inside a tunnel, whatever becomes of it. */
async function handshake(t: Test, proxy: TestProxy, target: string, options: ConnectionOptions) {
  const raw = await openRaw(t, proxy.port, connectTo(target))
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const secure = connectTls({ socket: raw.socket, servername: target.split(':')[0] ?? '', ...options })
  secure.on('error', () => undefined)
  return { raw, secure }
}

/** The first words of TLS, as a client of Node's says them. */
async function helloFor(t: Test, servername: string): Promise<Buffer> {
  let heard = (_first: Buffer): void => undefined
  const first = new Promise<Buffer>((resolve) => (heard = resolve))
  const port = await startTcpOrigin(t, (socket) => void socket.once('data', heard))
  const client = connectTls({ host: '127.0.0.1', port, servername })
  client.on('error', () => undefined)
  t.teardown(() => client.destroy())
  return first
}

const DISTRUST = /does not trust our CA/

void t.test('distrust is said of a client that says so by an alert', async (t) => {
  const log = logFile(t, 'text')
  const proxy = await startProxy(t, { logger: log.logger })
  // curl checks in the handshake and says `unknown_ca`, with every version of TLS.
  for (const version of ['1.2', '1.3']) {
    const host = `pinned-${version.replace('.', '-')}.test`
    const { exitCode } = await proxy.curl(
      ...[
        '-p',
        '-x',
        'http://$PROXY',
        `--tls-max`,
        version,
        '--cacert',
        '/etc/ssl/certs/ca-certificates.crt',
      ],
      `https://${host}/`,
    )
    t.equal(exitCode, 60)
    const told = await log.line(new RegExp(host))
    t.match(told, new RegExp(`INFO {2}TLS refused +host=${host}:443 code=\\S*ALERT_UNKNOWN_CA hint=`))
    t.match(told, DISTRUST)
  }
})

void t.test('no other ending is called distrust', async (t) => {
  const log = logFile(t, 'text')
  const proxy = await startProxy(t, { logger: log.logger, timeouts: { headers: 700 } })
  const trusting = { ca: proxy.caPem, checkServerIdentity: () => undefined }

  // A connection more than a client needed, closed in order; and by a reset, since nobody has read our session tickets.
  const spare = await openTls(t, proxy, 'spare.test:443', 'spare.test')
  spare.socket.end()
  t.match(
    await log.line(/spare\.test/),
    /INFO {2}TLS closed +host=spare\.test:443 problem="the client left without a request" hint="if the client complains/,
  )
  const reset = await handshake(t, proxy, 'reset.test:443', trusting)
  // Its ticket shows that the handshake is over for the proxy too.
  await once(reset.secure, 'session')
  reset.raw.socket.resetAndDestroy()
  t.match(await log.line(/reset\.test/), /TLS closed +host=reset\.test:443 problem="the client left without/)

  const first = await helloFor(t, 'left.test')
  for (const part of [first, first.subarray(0, 20)]) {
    const leaver = await openRaw(t, proxy.port, connectTo(`left-at-${part.length}.test:443`))
    await leaver.until(/\r\n\r\n$/)
    leaver.socket.write(part)
    // With all of it, the proxy answers; with a part it waits.
    if (part === first) await once(leaver.socket, 'data')
    leaver.socket.resetAndDestroy()
    t.match(
      await log.line(new RegExp(`left-at-${part.length}\\.test`)),
      /TLS failed +host=left-at-\d+\.test:443 .*problem="the client left in the middle of the handshake" hint="if the client complains/,
    )
  }
  const slow = await openRaw(t, proxy.port, connectTo('slow.test:443'))
  await slow.until(/\r\n\r\n$/)
  slow.socket.write(first)
  t.match(
    await log.line(/slow\.test/),
    /TLS failed +host=slow\.test:443 problem="the client took longer than/,
  )

  await handshake(t, proxy, 'old.test:443', {
    ...trusting,
    minVersion: 'TLSv1.1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  })
  t.match(await log.line(/old\.test/), /TLS failed +host=old\.test:443 code=\S+$/)
  t.notMatch(log.text(), DISTRUST)
})

void t.test('a client that works leaves lines of requests alone', async (t) => {
  const log = logFile(t, 'text')
  const proxy = await startProxy(t, { logger: log.logger })
  const { port } = await startHttpsOrigin(
    t,
    proxy.originAuthority,
    'works.test',
    (_request, response) => void response.end('yes'),
  )
  for (const version of ['--http1.1', '--http2']) {
    const { status } = await proxy.curl('-p', '-x', 'http://$PROXY', version, `https://works.test:${port}/`)
    t.equal(status, 200)
  }
  const client = await openTls(t, proxy, `works.test:${port}`, 'works.test')
  client.socket.write(`GET /last HTTP/1.1\r\nHost: works.test:${port}\r\n\r\n`)
  await client.until(/yes$/)
  client.socket.destroy()
  await log.line(/path=\/last/)
  const end = await openTls(t, proxy, 'end.test:443', 'end.test')
  end.socket.end()
  await log.line(/end\.test/)
  t.notMatch(log.text(), /works\.test.*TLS|TLS .*works\.test/)
})
