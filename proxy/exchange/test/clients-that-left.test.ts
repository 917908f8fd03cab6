import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { loadDefaultConfig } from '../../../config/layers/load.js'
import { silentLogger } from '../../../base/log/logger.js'
import { openCache } from '../../cache/open-cache.js'
import { openRaw, openTls, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'
import { openHttp2 } from '../../../test/lab/origins/http2-ends.js'
import { becomes } from '../../../test/lab/becomes.js'

// A request ends when its client has left, whatever it was at.

/** One that the cache covers, each time another. */
const blob = (round: number): string => `/pool/main/a/a_${round}_amd64.deb`

function get(port: number, path: string, more = ''): string {
  return `GET http://origin.test:${port}${path} HTTP/1.1\r\nHost: origin.test:${port}\r\n${more}\r\n`
}

t.test('requests that wait in a pipeline end with their connection, and make room', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'discobot-left-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const section = { ...loadDefaultConfig().config.cache, dir }
  const cache = await openCache(section, { logger: silentLogger, now: Date.now })
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { cache, limits: { requests: 4 } })
  const paths: (string | undefined)[] = []
  const cut: Promise<unknown>[] = []
  const { port } = await startHttpOrigin(t, (request, response) => {
    paths.push(request.url)
    if (request.url === '/quick') return void response.end('quick')
    // A fill goes on for those who may come.
    if (request.url?.startsWith('/pool/') !== true) cut.push(once(response, 'close'))
    // Some have begun their answer.
    if (request.url !== '/silent') response.write('begun')
  })
  for (let round = 0; round < 3; round += 1) {
    const before = paths.length
    const client = await openRaw(t, proxy.port)
    client.socket.write(
      get(port, '/silent') + get(port, '/begun') + get(port, blob(round)) + get(port, '/silent'),
    )
    await becomes(() => paths.length === before + 4)
    client.socket.resetAndDestroy()
    await becomes(() => proxy.server.traffic.live().length === 0)
    await Promise.all(cut)
    await becomes(() => proxy.server.connections === 0)
  }
  const next = await openRaw(t, proxy.port, get(port, '/quick', 'Connection: close\r\n'))
  t.match((await next.closed()).text, /^HTTP\/1\.1 200 [\s\S]*quick$/)
})

t.test('so do those in a tunnel, over TLS', async (t) => {
  const proxy = await startProxy(t)
  let asked = 0
  const origin = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', () => (asked += 1))
  const target = `origin.test:${origin.port}`
  const client = await openTls(t, proxy, target, 'origin.test')
  client.socket.write(`GET / HTTP/1.1\r\nHost: ${target}\r\n\r\n`.repeat(3))
  await becomes(() => asked === 3)
  client.socket.destroy()
  await becomes(() => proxy.server.traffic.live().length === 0)
  t.equal(proxy.server.traffic.live().length, 0)
})

t.test('one whose client leaves while its name is resolved ends, and upstream is not asked', async (t) => {
  let resolving = 0
  let goOn = (): void => undefined
  const proxy = await startProxy(t, {
    // Only the address tells.
    blocklist: { domains: [], ips: ['192.0.2.1'] },
    resolve: () => {
      resolving += 1
      return new Promise((resolve) => (goOn = () => resolve(['127.0.0.1'])))
    },
  })
  let asked = 0
  const { port } = await startHttpOrigin(t, (_request, response: ServerResponse) => {
    asked += 1
    response.write('begun')
  })
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
  for (const more of ['', upgrade]) {
    const before = resolving
    const client = await openRaw(t, proxy.port, get(port, '/', more))
    await becomes(() => resolving > before)
    client.socket.resetAndDestroy()
    await becomes(() => proxy.server.connections === 0)
    goOn()
    await becomes(() => proxy.server.traffic.live().length === 0)
  }
  const session = await openHttp2(t, proxy, port)
  const before = resolving
  const stream = session.request({ ':path': '/' })
  stream.on('error', () => undefined)
  await becomes(() => resolving > before)
  stream.close(8)
  await once(stream, 'close')
  goOn()
  await becomes(() => proxy.server.traffic.live().length === 0)
  t.equal(asked, 0)
})
