import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { LifeCheck } from '../../h2/life-check.js'
import { becomes } from '../../../test/lab/becomes.js'
import { openRaw, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'
import { ask, openHttp2, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

/** What the kernel asks with, in seconds, for each connection of ours to or from `port`; 0: it does not. */
async function probes(port: number, side: 'dport' | 'sport'): Promise<number[]> {
  const { stdout } = await execa('ss', ['-Htno', 'state', 'established', `( ${side} = :${port} )`])
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, amount, unit] = /timer:\(keepalive,(?:(?:\d+min)?([\d.]+)(sec|ms))?/.exec(line) ?? []
      // A minute and more counts as never: NATs forget within one.
      if (amount === undefined || /keepalive,\d+min/.test(line)) return 0
      return unit === 'ms' ? Number(amount) / 1000 : Number(amount)
    })
}

async function assertProbed(t: Test, port: number, side: 'dport' | 'sport', name: string): Promise<void> {
  let found: number[] = []
  // While bytes are on their way the kernel's timer is that of their acknowledgement.
  for (let looks = 0; looks < 50 && (found.length === 0 || found.includes(0)); looks += 1) {
    found = await probes(port, side)
  }
  t.ok(found.length > 0, `${name}: there is a connection`)
  for (const seconds of found) t.ok(seconds > 0 && seconds <= 30, `${name}: asked within ${seconds} s`)
}

t.test('every connection is asked by the kernel whether its other end is there', async (t) => {
  const proxy = await startProxy(t, { passthrough: ['passed.test'] })
  const held: Socket[] = []
  t.teardown(() => held.forEach((socket) => socket.destroy()))

  await t.test('a request over plain HTTP, and the client of it', async (t) => {
    const { server, port } = await startHttpOrigin(t, (_request, response) => {
      response.writeHead(200)
      response.write('begun')
    })
    const client = httpRequest({
      host: '127.0.0.1',
      port: proxy.port,
      path: `http://origin.test:${port}/`,
      headers: { Host: `origin.test:${port}` },
    }).end()
    client.on('error', () => undefined)
    await once(client, 'response')
    await assertProbed(t, port, 'dport', 'upstream')
    await assertProbed(t, proxy.port, 'sport', 'client')
    client.destroy()
    server.closeAllConnections()
  })

  await t.test('a kept connection of plain HTTP', async (t) => {
    const { port } = await startHttpOrigin(t, (_request, response) => void response.end('ok'))
    await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${port}/`)
    await assertProbed(t, port, 'dport', 'idle')
  })

  await t.test('TLS, under way and kept', async (t) => {
    const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
      if (request.url === '/ask')
        void assertProbed(t, port, 'dport', 'under way').then(() => response.end('ok'))
      else response.end('ok')
    })
    await proxy.curl('--http1.1', '-x', 'http://$PROXY', `https://origin.test:${port}/ask`)
    await assertProbed(t, port, 'dport', 'idle')
  })

  await t.test('HTTP/2', async (t) => {
    const { port } = await startHttp2Origin(t, proxy, (stream) => {
      stream.respond({ ':status': 200 })
      stream.end('ok')
    })
    await ask(await openHttp2(t, proxy, port), { ':path': '/' })
    await assertProbed(t, port, 'dport', 'session')
  })

  await t.test('a raw tunnel, a tunnel of tls.passthrough, and an upgrade', async (t) => {
    const server = createServer((socket) => {
      held.push(socket)
      socket.on('error', () => undefined)
      socket.once('data', (bytes) =>
        socket.write(
          /upgrade/i.test(bytes.toString())
            ? 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n'
            : 'answer',
        ),
      )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo
    for (const host of ['raw.test', 'passed.test']) {
      const tunnel = await openRaw(
        t,
        proxy.port,
        `CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`,
      )
      await tunnel.until(/\r\n\r\n$/)
      tunnel.socket.write('\0 no protocol that is known\r\n')
      await tunnel.until(/answer$/)
      await assertProbed(t, port, 'dport', host)
    }
    const upgrade = await openRaw(
      t,
      proxy.port,
      `GET http://origin.test:${port}/ HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n`,
    )
    await upgrade.until(/^HTTP\/1\.1 101 /)
    t.equal((await probes(port, 'dport')).length, 3)
    await assertProbed(t, port, 'dport', 'upgrade')
  })
})

t.test('so is the connection to the upstream proxy, over TLS too', async (t) => {
  const parent = await startProxy(t)
  const url = `http://127.0.0.1:${parent.port}`
  const proxy = await startProxy(t, { upstreamProxy: { url, resolve: 'remote' } })
  const plain = await startHttpOrigin(t, (_request, response) => void response.end('ok'))
  t.equal((await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${plain.port}/`)).status, 200)
  await assertProbed(t, parent.port, 'dport', 'handed on')
  const secure = await startHttpsOrigin(
    t,
    proxy.originAuthority,
    'origin.test',
    (_request, response) => void response.end('ok'),
  )
  // Through another CA than the one it opens TLS with: the tunnel is enough.
  await proxy.curl('-x', 'http://$PROXY', `https://origin.test:${secure.port}/`)
  await assertProbed(t, parent.port, 'dport', 'tunnelled')
})

t.test('HTTP/2: a silent session with a request under way is asked whether it lives', async (t) => {
  const proxy = await startProxy(t, { timeouts: { idle: 4_000 } })
  let pings = 0
  const origin = await startHttp2Origin(t, proxy, (stream) => {
    stream.session?.once('ping', () => {
      pings += 1
      stream.respond({ ':status': 200 })
      stream.end('asked')
    })
  })
  const session = await openHttp2(t, proxy, origin.port)
  const answer = await ask(session, { ':path': '/' })
  t.equal(answer.status, 200)
  t.equal(answer.body.toString(), 'asked')
  t.equal(pings, 1)
})

t.test(
  'HTTP/2: a server that counts questions against us is asked twice more, and again when it answers',
  async (t) => {
    let pings = 0
    const server = createHttp2Server()
    server.on('session', (own) => own.on('ping', () => (pings += 1)))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    await once(session, 'connect')
    const life = new LifeCheck({
      session,
      socket: session.socket,
      idleLimitMs: 100,
      isWaiting: () => true,
      onDead: () => t.fail('it lives'),
    })
    t.teardown(() => {
      session.destroy()
      server.close()
    })
    await becomes(() => pings === 3)
    // For many looks.
    await delay(1_000)
    t.equal(pings, 3)
    t.equal(life.whenQuiet(0), undefined, 'who would wait for the answer does not')
    life.noteAnswer()
    await becomes(() => pings === 5)
  },
)

t.test(
  'HTTP/2: a connection that nobody answers on any more ends with 504 before timeouts.idle',
  async (t) => {
    const proxy = await startProxy(t, { timeouts: { idle: 8_000 } })
    const pairs: Socket[] = []
    const origin = await startHttp2Origin(t, proxy, () => {
      // As a NAT that has forgotten the connection: what is sent is taken and goes nowhere.
      for (const socket of pairs) socket.unpipe().resume()
    })
    const nat = createServer((socket) => {
      const onward = connect(origin.port, '127.0.0.1')
      pairs.push(socket, onward)
      for (const side of [socket, onward]) side.on('error', () => undefined)
      socket.pipe(onward).pipe(socket)
    })
    await new Promise<void>((resolve) => nat.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
      for (const socket of pairs) socket.destroy()
      nat.close()
    })
    const session = await openHttp2(t, proxy, (nat.address() as AddressInfo).port)
    const started = performance.now()
    const answer = await ask(session, { ':path': '/' })
    t.equal(answer.status, 504)
    t.match(answer.body.toString(), /ETIMEDOUT/)
    t.ok(performance.now() - started < 7_500)
  },
)
