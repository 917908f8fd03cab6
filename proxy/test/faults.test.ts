import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import t, { type Test } from 'tap'
import { sendJson } from '../../base/http/problem.js'
import { createLogger } from '../../base/log/logger.js'
import { keepLines, type KeptLines, type Line } from '../../test/lab/kept-lines.js'
import { ApiServer } from '../api/server.js'
import { noCache } from '../cache/open-cache.js'
import {
  openRaw,
  openTls,
  startHttpOrigin,
  startProxy,
  type TestProxy,
  type TestProxyOptions,
} from '../../test/lab/harness.js'
import { OPEN_ACCESS } from '../../test/lab/open-access.js'
import { folder, start } from '../../test/lab/program.js'

// Whatever throws in an entry is a fault of ours: it is in the log, it ends its own connection and nothing else.

/** A fault planted where the proxy writes its log, which every entry does. Each is thrown once. */
class Plant {
  readonly kept: KeptLines
  /** Resolves when a fault has been told. */
  readonly told: Promise<void>
  #when: ((line: Line) => boolean) | undefined

  constructor() {
    let tell = (): void => undefined
    this.told = new Promise((resolve) => (tell = resolve))
    this.kept = keepLines((line) => {
      if (line.message === 'a fault of ours') return setImmediate(tell)
      if (this.#when?.(line) !== true) return
      this.#when = undefined
      throw new TypeError('planted')
    })
  }

  arm(when: (line: Line) => boolean): void {
    this.#when = when
  }
}

interface Stage {
  readonly proxy: TestProxy
  readonly plant: Plant
  readonly origin: string
}

async function stage(t: Test, options: TestProxyOptions = {}): Promise<Stage> {
  const plant = new Plant()
  const proxy = await startProxy(t, { logger: plant.kept.logger, ...options })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  return { proxy, plant, origin: `origin.test:${port}` }
}

/** That the fault was told, once, and that the next client is served. */
async function assertOutlived(t: Test, { proxy, plant, origin }: Stage, entry: string): Promise<void> {
  await plant.told
  t.match(plant.kept.faults(), [
    { level: 'error', fields: { entry, reason: 'planted', stack: /TypeError: planted/ } },
  ])
  t.equal((await proxy.curl('-x', 'http://$PROXY', `http://${origin}/`)).body, 'reached')
}

const ofMethod = (method: string) => (line: Line) => line.fields['method'] === method

t.test('HTTP/1: the connection of the fault ends, and not its neighbour', async (t) => {
  const at = await stage(t)
  const request = `GET http://${at.origin}/ HTTP/1.1\r\nHost: ${at.origin}\r\n\r\n`
  const neighbour = await openRaw(t, at.proxy.port, request)
  await neighbour.until(/reached$/)
  at.plant.arm(({ message }) => message === 'response')
  const victim = await openRaw(t, at.proxy.port, request.replace('GET', 'OPTIONS'))
  await victim.closed()
  neighbour.socket.write(request)
  await neighbour.until(/reached[\s\S]*reached$/)
  await assertOutlived(t, at, 'HTTP')
})

t.test('HTTP/1: a fault on the way to the answer is answered, and told', async (t) => {
  const plant = new TypeError('planted')
  const kept = keepLines()
  const cache = {
    ...noCache(),
    covers: () => {
      throw plant
    },
  }
  const proxy = await startProxy(t, { logger: kept.logger, cache })
  const { status } = await proxy.curl('-x', 'http://$PROXY', 'http://origin.test:1/')
  t.equal(status, 502)
  t.match(kept.faults(), [{ fields: { entry: 'exchange', host: 'origin.test:1', reason: 'planted' } }])
})

t.test('CONNECT', async (t) => {
  const at = await stage(t, {
    blocklist: { domains: ['blocked.test'], ips: [] },
    egress: { connect_ports: [443] },
  })
  at.plant.arm(ofMethod('CONNECT'))
  const client = await openRaw(t, at.proxy.port, 'CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\n')
  t.equal((await client.closed()).text, '')
  await assertOutlived(t, at, 'CONNECT')
})

t.test('SOCKS', async (t) => {
  const at = await stage(t, { blocklist: { domains: ['blocked.test'], ips: [] } })
  at.plant.arm(ofMethod('SOCKS5'))
  const name = 'blocked.test'
  const asked = Buffer.from([5, 1, 0, 5, 1, 0, 3, name.length, ...Buffer.from(name), 0, 80])
  const client = await openRaw(t, at.proxy.port, asked)
  t.equal((await client.closed()).text, '\x05\x00', 'no more than the choice of method')
  await assertOutlived(t, at, 'connection')
})

t.test('Upgrade', async (t) => {
  const at = await stage(t)
  at.plant.arm(({ message }) => message === 'response')
  const client = await openRaw(
    t,
    at.proxy.port,
    `GET http://${at.origin}/ HTTP/1.1\r\nHost: ${at.origin}\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n`,
  )
  await client.closed()
  await assertOutlived(t, at, 'Upgrade')
})

t.test('a connection that is one too many', async (t) => {
  const at = await stage(t, { connectionCeiling: 1 })
  const first = await openRaw(t, at.proxy.port, 'GET http://a.test/ HTTP/1.1\r\nHost: a')
  at.plant.arm(({ message }) => message === 'turned away a connection')
  await (await openRaw(t, at.proxy.port, 'GET')).closed()
  first.socket.destroy()
  await once(first.socket, 'close')
  await assertOutlived(t, at, 'connection')
})

t.test('TLS: a certificate for a name that cannot be made', async (t) => {
  const plant = new Plant()
  let sprung = false
  const proxy = await startProxy(t, {
    logger: plant.kept.logger,
    contexts: (own) => ({
      ...own,
      for: (host) => {
        if (host !== 'planted.test') return own.for(host)
        sprung = true
        throw new TypeError('planted')
      },
    }),
  })
  await openTls(t, proxy, 'origin.test:443', 'planted.test').catch(() => undefined)
  t.ok(sprung)
  t.match(plant.kept.faults(), [{ fields: { entry: 'TLS', reason: 'planted' } }])
  const { socket } = await openTls(t, proxy, 'origin.test:443', 'origin.test')
  t.ok(socket.authorized, 'the next handshake succeeds')
})

t.test('HTTP/2: the stream of the fault ends, and not its neighbours', async (t) => {
  const at = await stage(t)
  const raw = await openRaw(
    t,
    at.proxy.port,
    `CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n`,
  )
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  const session = connectHttp2('https://origin.test:443', {
    socket: raw.socket,
    ca: at.proxy.caPem,
    servername: 'origin.test',
    checkServerIdentity: () => undefined,
  })
  t.teardown(() => session.destroy())
  const asked = async (): Promise<number> => {
    // Nobody says `:scheme` http in TLS: refused without anybody upstream.
    const stream = session.request({ ':path': '/', ':scheme': 'http' })
    const closed = new Promise<void>((resolve) => stream.on('error', () => undefined).once('close', resolve))
    stream.resume()
    await closed
    return stream.rstCode
  }
  t.equal(await asked(), 0)
  at.plant.arm(({ message }) => message === 'response')
  await asked()
  t.equal(await asked(), 0, 'on the same connection')
  await assertOutlived(t, at, 'HTTP/2')
})

t.test('what is no HTTP', async (t) => {
  const at = await stage(t)
  const client = await openRaw(t, at.proxy.port, 'no HTTP\r\n\r\n')
  t.match((await client.closed()).text, /^HTTP\/1\.1 400 /)
  t.strictSame(at.plant.kept.faults(), [])
})

t.test(
  'the proxy API: a route that throws is answered, what throws beyond that ends its connection',
  async (t) => {
    let armed = false
    const kept = keepLines(({ message }: Line) => {
      if (message !== 'cannot answer a control request' || !armed) return
      armed = false
      throw new TypeError('planted in the log')
    })
    const row = { method: 'GET', access: 'read', summary: '', answers: {} } as const
    const api = new ApiServer({
      host: '127.0.0.1',
      port: 0,
      access: OPEN_ACCESS,
      logger: kept.logger,
      routes: [
        { ...row, path: '/throws', handle: () => Promise.reject(new TypeError('planted')) },
        {
          ...row,
          path: '/broken',
          handle: async ({ response }) => sendJson(response, {}, 200, { 'X-Broken': 'a\r\nb' }),
        },
        { ...row, path: '/fine', handle: async ({ response }) => sendJson(response, { fine: true }) },
      ],
    })
    const port = await api.start()
    t.teardown(() => api.stop())
    const status = async (path: string): Promise<number> =>
      (await fetch(`http://127.0.0.1:${port}${path}`)).status
    t.equal(await status('/throws'), 500)
    t.equal(await status('/broken'), 500, 'an answer that cannot be written')
    t.match(kept.lines, [
      { message: 'cannot answer a control request', fields: { path: '/throws', reason: 'planted' } },
      { message: 'cannot answer a control request', fields: { path: '/broken', reason: /X-Broken/ } },
    ])
    t.strictSame(kept.faults(), [])
    armed = true
    await t.rejects(status('/throws'))
    t.match(kept.faults(), [{ fields: { entry: 'proxy API', reason: 'planted in the log' } }])
    t.equal(await status('/fine'), 200)
  },
)

t.test('a log that cannot be written to is no fault of a connection', async (t) => {
  const { proxy, origin } = await stage(t, {
    logger: createLogger({ level: 'info', format: 'text', file: '/dev/full' }),
  })
  for (const _ of [1, 2]) {
    t.equal((await proxy.curl('-x', 'http://$PROXY', `http://${origin}/`)).body, 'reached')
  }
})

t.test('the program outlives what no entry has caught, and the packets that once ended it', async (t) => {
  const planted = `process.on('SIGUSR2', () => { Promise.reject(new Error('rejected')); throw new Error('thrown') })`
  const dir = folder(t)
  const program = await start(
    t,
    dir,
    { proxy: { port: 0, api_port: 0, auth: { user: 'agents', password: 'a-long-password' } } },
    ['env', `NODE_OPTIONS=--import=data:text/javascript,${encodeURIComponent(planted)}`],
  )
  for (const first of ['GET / HTTP/1.1\r\n\r\n', 'OPTIONS * HTTP/1.1\r\n\r\n']) {
    const upgrade = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
    const client = await openRaw(t, program.port, first + upgrade)
    t.match((await client.closed()).text, /^HTTP\/1\.1 400 /, 'said as before')
  }
  t.notMatch(program.log(), /a fault of ours/)
  program.process.kill('SIGUSR2')
  await program.logged(/a fault of ours +origin=uncaughtException reason=thrown stack=/)
  await program.logged(/a fault of ours +origin=unhandledRejection reason=rejected stack=/)
  t.equal((await fetch(`http://127.0.0.1:${program.apiPort}/health`)).status, 200)
  program.process.kill('SIGTERM')
  t.equal(await program.ended(), 0)
})
