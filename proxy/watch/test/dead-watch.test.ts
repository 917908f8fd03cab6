import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { becomes } from '../../../test/lab/becomes.js'
import { openRaw, startProxy, startTcpOrigin } from '../../../test/lab/harness.js'
import { Traffic } from '../../exchange/traffic.js'
import { DeadWatch, type DeadWatchOptions } from '../dead-watch.js'
import { inodeOf, withoutConnection } from '../kernel-sockets.js'
import { OpenSockets } from '../open-sockets.js'

// What is counted and is dead in the kernel is found, told of and let go of; what lives is left alone, however still.

const onLinux = process.platform === 'linux' ? {} : { skip: 'only Linux tells which connections it has' }

/** A server whose connections nobody reads: Node does not see a reset of such a one. */
async function startDeaf(
  t: Test,
): Promise<{ server: Server; open: OpenSockets; dial: () => Promise<Socket> }> {
  const open = new OpenSockets()
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    open.add(socket).on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  const dial = async (): Promise<Socket> => {
    const before = open.size
    const socket = connect({
      port: (server.address() as AddressInfo).port,
      host: '127.0.0.1',
      allowHalfOpen: true,
    })
    t.teardown(() => socket.destroy())
    socket.on('error', () => undefined)
    await becomes(() => open.size > before)
    return socket
  }
  return { server, open, dial }
}

function watchOver(server: Server, open: OpenSockets, more: Partial<DeadWatchOptions> = {}): DeadWatch {
  return new DeadWatch({
    intervalMs: 60_000,
    sockets: { connection: () => open, upstream: () => [] },
    others: { request: () => [], tunnel: () => [] },
    witness: () => inodeOf(server),
    logger: silentLogger,
    ...more,
  })
}

t.test(
  'a connection that was reset unseen is let go of at the second look, others stay',
  onLinux,
  async (t) => {
    const { server, open, dial } = await startDeaf(t)
    const watch = watchOver(server, open)
    const still = await dial()
    const halfClosed = await dial()
    halfClosed.end('unread')
    const gone = await dial()
    gone.resetAndDestroy()
    await once(gone, 'close')
    t.equal(open.size, 3, 'Node has seen nothing')
    await watch.look()
    t.equal(watch.dead('connection'), 1)
    t.match(watch.findings(), [/gone: 1 connections of clients$/])
    t.equal(open.size, 3)
    await watch.look()
    t.equal(watch.letGo('connection'), 1)
    await becomes(() => open.size === 2)
    await watch.look()
    t.equal(watch.dead('connection'), 0)
    t.match(watch.findings(), [/^let go of since the start.*: 1 connections of clients$/])
    t.equal(open.size, 2)
    t.notOk(still.destroyed)
  },
)

t.test('what came before both sides had ended may still be read', onLinux, async (t) => {
  const { server, open, dial } = await startDeaf(t)
  const watch = watchOver(server, open)
  const client = await dial()
  const [served] = [...open]
  served?.end()
  client.resume().end('late')
  await once(client, 'close')
  // Both ends of it are closed for the kernel.
  await becomes(() => served?.writableFinished === true)
  for (let looks = 0; looks < 3; looks += 1) await watch.look()
  t.equal(watch.letGo('connection'), 0)
  let text = ''
  served?.on('data', (bytes: Buffer) => (text += bytes.toString())).resume()
  await becomes(() => open.size === 0)
  t.equal(text, 'late')
})

t.test('where the tables are not ours nothing is said', onLinux, async (t) => {
  const { server, open, dial } = await startDeaf(t)
  const gone = await dial()
  gone.resetAndDestroy()
  await once(gone, 'close')
  for (const witness of [() => undefined, () => 1]) {
    const watch = watchOver(server, open, { witness })
    for (let looks = 0; looks < 3; looks += 1) await watch.look()
    t.strictSame(watch.findings(), [])
  }
  t.equal(open.size, 1)
  t.strictSame(await withoutConnection([1]), new Set([1]))
})

t.test('a request that is told of no end ends with its client, and its count with it', async (t) => {
  const traffic = new Traffic(() => performance.now())
  const server = createHttpServer((request: IncomingMessage, response: ServerResponse) => {
    const witness = traffic.begin(request, response, request.socket)
    response.once('close', () => witness.gone())
    // An event that nobody hands on.
    if (request.url === '/lost') response.removeAllListeners('close')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const ask = async (path: string): Promise<Socket> => {
    const before = traffic.size
    const socket = connect({ port, host: '127.0.0.1' }).on('error', () => undefined)
    t.teardown(() => socket.destroy())
    socket.write(`GET ${path} HTTP/1.1\r\nHost: origin.test\r\n\r\n`)
    await becomes(() => traffic.size === before + 1)
    return socket
  }
  const lost = await ask('/lost')
  await ask('/waits')
  lost.resetAndDestroy()
  const watch = new DeadWatch({
    intervalMs: 60_000,
    sockets: { connection: () => [], upstream: () => [] },
    others: { request: () => traffic.countedRequests(), tunnel: () => traffic.countedTunnels() },
    witness: () => undefined,
    logger: silentLogger,
  })
  await becomes(() => [...traffic.countedRequests()].some(({ over }) => over))
  await watch.look()
  t.equal(traffic.size, 2)
  await watch.look()
  t.equal(traffic.size, 1)
  t.equal(watch.letGo('request'), 1)
  await watch.look()
  t.equal(traffic.size, 1, 'the other waits on')
})

t.test(
  'the proxy lets go of a tunnel whose client was reset while upstream read nothing',
  onLinux,
  async (t) => {
    const warned: object[] = []
    const logger = { ...silentLogger, warn: (fields: object) => void warned.push(fields) }
    const proxy = await startProxy(t, { watchMs: 50, logger })
    const port = await startTcpOrigin(t, (socket) => void socket.pause())
    const target = `127.0.0.1:${port}`
    const client = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
    await client.until(/\r\n\r\n$/)
    client.socket.write('neither TLS nor HTTP\n')
    await becomes(() => proxy.server.traffic.tunnels === 1)
    const piece = Buffer.alloc(1024 * 1024)
    // Until nobody takes any more.
    let taken = -1
    while (taken !== client.socket.bytesWritten - client.socket.writableLength) {
      taken = client.socket.bytesWritten - client.socket.writableLength
      client.socket.write(piece)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    client.socket.resetAndDestroy()
    await becomes(() => proxy.server.connections === 0)
    await becomes(() => proxy.server.upstreamConnections === 0)
    await becomes(() => proxy.server.traffic.tunnels === 0)
    // What was seen dead is told until the next look.
    await becomes(() => proxy.server.findings().length === 1)
    t.match(proxy.server.findings(), [/^let go of since the start/])
    t.match(warned[0], { kind: 'connections of clients' })
  },
)
