import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import {
  openRaw,
  openTls,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  startTcpOrigin,
} from '../../../test/lab/harness.js'
import { ask, openHttp2 } from '../../../test/lab/origins/http2-ends.js'
import { curl, folder, start } from '../../../test/lab/program.js'

// What is too much is turned away with 503, a reason and a time, and what is under way goes on.

function get(port: number, more = ''): string {
  return `GET http://origin.test:${port}/ HTTP/1.1\r\nHost: origin.test:${port}\r\n${more}\r\n`
}

const SHED = /^HTTP\/1\.1 503 [\s\S]*\r\nProxy-Status: discobot; error=http_request_denied; /

/** Connections that have said nothing yet. */
async function hold(t: Test, port: number, count: number, localAddress = '127.0.0.1'): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => connect({ port, host: '127.0.0.1', localAddress }))
  t.teardown(() => sockets.forEach((socket) => socket.destroy()))
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  return sockets
}

t.test(
  'connections beyond the limit are told so in their protocol, and room is made by leaving',
  async (t) => {
    const proxy = await startProxy(t, { limits: { connections: 3 } })
    const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
    const busy = await openRaw(t, proxy.port, get(port))
    await busy.until(/reached$/)
    const held = await hold(t, proxy.port, 2)
    const shed = (await (await openRaw(t, proxy.port, get(port))).closed()).text
    t.match(shed, SHED)
    t.match(shed, /\r\nRetry-After: 1\r\n/)
    t.match(shed, /the proxy has 3 connections \(limits\.connections\)/)
    t.equal((await (await openRaw(t, proxy.port, Buffer.from([5, 1, 0]))).closed()).text, '\x05\xff')
    t.equal(
      (await (await openRaw(t, proxy.port, Buffer.from([4, 1, 0]))).closed()).text.slice(0, 2),
      '\x00\x5b',
    )
    busy.socket.write(get(port, 'X-Again: 1\r\n'))
    await busy.until(/reached[\s\S]*reached$/)
    const [leaver] = held
    leaver?.destroy()
    let text = ''
    // The proxy sees it leave at a moment of its own.
    while (!text.includes('200 OK')) {
      text = (await (await openRaw(t, proxy.port, get(port, 'Connection: close\r\n'))).closed()).text
    }
    t.match(text, /reached$/)
  },
)

t.test('one address may not take it all', async (t) => {
  const proxy = await startProxy(t, { limits: { client_connections: 2 } })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  await hold(t, proxy.port, 2, '127.0.0.2')
  const [third] = await hold(t, proxy.port, 1, '127.0.0.2')
  third?.write(get(port))
  const answer = await new Promise<string>((resolve) =>
    third?.once('data', (bytes: Buffer) => resolve(bytes.toString())),
  )
  t.match(answer, SHED)
  t.match(answer, /127\.0\.0\.2 has 2 connections \(limits\.client_connections\)/)
  t.match(
    (await (await openRaw(t, proxy.port, get(port, 'Connection: close\r\n'))).closed()).text,
    /reached$/,
  )
})

t.test('a crowd at the door costs no more than a few of its sockets', async (t) => {
  const proxy = await startProxy(t, { limits: { connections: 1 } })
  await hold(t, proxy.port, 1)
  const crowd = Array.from({ length: 300 }, () => connect({ port: proxy.port, host: '127.0.0.1' }))
  t.teardown(() => crowd.forEach((socket) => socket.destroy()))
  const cut = crowd.map((socket) => {
    socket.on('error', () => undefined)
    socket.resume()
    return new Promise((resolve) => socket.once('close', resolve))
  })
  // Nobody says a word: those that are waited for are let go of after a second, the others at once.
  await Promise.all(cut)
  t.pass('all of them')
})

t.test(
  'requests beyond the limit are turned away, in HTTP/1.1 and HTTP/2, and the connection stays',
  async (t) => {
    const proxy = await startProxy(t, { limits: { requests: 1 } })
    let release: (() => void) | undefined
    const origin = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
      if (request.url === '/slow') release = () => response.end('slow')
      else response.end('quick')
    })
    const target = `origin.test:${origin.port}`
    const slow = await openTls(t, proxy, target, 'origin.test')
    slow.socket.write(`GET /slow HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
    await once(origin.server, 'request')
    const second = await openTls(t, proxy, target, 'origin.test')
    second.socket.write(`GET /quick HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
    await second.until(/\(limits\.requests\)\n$/)
    t.match(second.received(), SHED)
    const session = await openHttp2(t, proxy, origin.port)
    t.match(await ask(session, { ':path': '/quick' }), {
      status: 503,
      headers: { 'retry-after': '1', 'proxy-status': /limits\.requests/ },
    })
    release?.()
    await slow.until(/slow$/)
    second.socket.write(`GET /quick HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
    await second.until(/quick$/)
    t.match(await ask(session, { ':path': '/quick' }), { status: 200 })
  },
)

t.test('new hosts are minted at a rate, known ones are free', async (t) => {
  const proxy = await startProxy(t, { limits: { new_hosts: 3, client_new_hosts: 2 } })
  const origin = await startHttpsOrigin(t, proxy.originAuthority, '*.origin.test', (_request, response) => {
    response.end('reached')
  })
  const url = (host: string): string => `https://${host}.origin.test:${origin.port}/`
  t.match(await proxy.curl('-x', 'http://$PROXY', url('a')), { status: 200 })
  t.match(await proxy.curl('-x', 'http://$PROXY', url('b')), { status: 200 })
  const shed = await proxy.curl('-x', 'http://$PROXY', '-i', url('c'))
  t.match(shed.body, SHED)
  t.match(shed.body, /\r\nRetry-After: (29|30)\r\n/)
  t.match(shed.body, /limits\.client_new_hosts/)
  t.match(await proxy.curl('-x', 'http://$PROXY', url('a')), { status: 200 }, 'a known one')
  t.match(await proxy.curl('-x', 'http://$PROXY', '--interface', '127.0.0.3', url('d')), { status: 200 })
  const all = await proxy.curl('-x', 'http://$PROXY', '--interface', '127.0.0.3', '-i', url('e'))
  t.match(all.body, /limits\.new_hosts/)
  t.match(await proxy.curl('-x', 'socks5h://$PROXY', url('f')), { exitCode: 97 })
})

t.test('another name in the handshake makes no certificate beyond the limit either', async (t) => {
  const proxy = await startProxy(t, { limits: { new_hosts: 1 } })
  const port = await startTcpOrigin(t, () => undefined)
  await t.rejects(openTls(t, proxy, `a.test:${port}`, 'b.test'))
  const known = await openTls(t, proxy, `a.test:${port}`, 'a.test')
  known.socket.end()
})

t.test('the head of a request may be as long as configured, also for those who change it', async (t) => {
  const proxy = await startProxy(t, { limits: { header_bytes: 8192 } })
  const origin = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    response.end('reached')
  })
  const plain = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const long = `X-Long: ${'x'.repeat(9000)}\r\n`
  const refused = (await (await openRaw(t, proxy.port, get(plain.port, long))).closed()).text
  t.match(refused, /^HTTP\/1\.1 431 [\s\S]*larger than 8 KiB/)
  const session = await openHttp2(t, proxy, origin.port)
  // A limit of HTTP/2 counts once the client has acknowledged it.
  t.match(await ask(session, { ':path': '/' }), { status: 200 })
  t.match(await ask(session, { ':path': '/', 'x-long': 'x'.repeat(9000) }), { status: 0 })
  const { resolveSecrets } = await import('../../credentials/secrets.js')
  const { createSecureContext } = await import('node:tls')
  proxy.server.reconfigure({
    config: { ...proxy.config, limits: { ...proxy.config.limits, header_bytes: 65536 } },
    secrets: await resolveSecrets({}, {}),
    trust: createSecureContext({ ca: [proxy.originAuthority.certPem] }),
  })
  const passed = await openRaw(t, proxy.port, get(plain.port, `${long}Connection: close\r\n`))
  t.match((await passed.closed()).text, /reached$/)
})

t.test('no more connections are taken on than files may be open', async (t) => {
  const proxy = await startProxy(t, { connectionCeiling: 1 })
  await hold(t, proxy.port, 1)
  const shed = (await (await openRaw(t, proxy.port, get(80))).closed()).text
  t.match(shed, /the proxy has 1 connections \(all that its open files allow\)/)
})

t.test('a proxy that may open no more files cuts connections, and goes on when it may', async (t) => {
  const dir = folder(t)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const program = await start(t, dir, {})
  const pid = String(program.process.pid)
  const url = `http://127.0.0.1:${port}/`
  t.match(await curl(program, dir, url), { stdout: 'reached' })
  // prlimit (util-linux) sets it for a process that runs; no number is left below that of what is open.
  const open = Math.min(
    ...readdirSync(`/proc/${pid}/fd`)
      .map(Number)
      .filter((fd) => fd > 2),
  )
  await execa('prlimit', ['--pid', pid, `--nofile=${open}:`])
  for (let round = 0; round < 2; round += 1) t.not((await curl(program, dir, '-m', '2', url)).exitCode, 0)
  await execa('prlimit', ['--pid', pid, '--nofile=1024:'])
  t.match(await curl(program, dir, url), { stdout: 'reached' })
})
