import { once } from 'node:events'
import { request as askHttp, type IncomingMessage, type ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { ApiServer } from '../../api/server.js'
import { trafficRoutes } from '../../api/traffic-routes.js'
import type { LiveRequest } from '../traffic.js'
import { silentLogger } from '../../../base/log/logger.js'
import { openTestCache } from '../../../test/lab/cache-front.js'
import {
  openRaw,
  startHttpOrigin,
  startProxy,
  type TestProxy,
  type TestProxyOptions,
} from '../../../test/lab/harness.js'
import { OPEN_ACCESS } from '../../../test/lab/open-access.js'
import { openHttp2, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

interface Watched {
  readonly proxy: TestProxy
  get(path: string): Promise<string>
  live(): Promise<readonly LiveRequest[]>
}

async function startWatched(t: Test, options: TestProxyOptions = {}): Promise<Watched> {
  const cache = await openTestCache(t.testdir())
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, { cache, ...options })
  const { server } = proxy
  const routes = trafficRoutes({
    traffic: server.traffic,
    cache,
    connections: () => server.connections,
    upstreamConnections: () => server.upstreamConnections,
    watch: server.watch,
  })
  const api = new ApiServer({ host: '127.0.0.1', port: 0, routes, access: OPEN_ACCESS, logger: silentLogger })
  const port = await api.start()
  t.teardown(() => api.stop())
  const get = async (path: string): Promise<string> => (await fetch(`http://127.0.0.1:${port}${path}`)).text()
  return {
    proxy,
    get,
    live: async () =>
      (JSON.parse(await get('/api/requests')) as { requests: readonly LiveRequest[] }).requests,
  }
}

t.test(
  'a request is shown while it waits and is answered, without its query, and then no more',
  async (t) => {
    const { proxy, live } = await startWatched(t)
    let asked: (response: ServerResponse) => void = () => undefined
    const arrived = new Promise<ServerResponse>((resolve) => (asked = resolve))
    const { port } = await startHttpOrigin(t, (_request, response) => asked(response))
    const request = askHttp({
      host: '127.0.0.1',
      port: proxy.port,
      method: 'POST',
      path: `http://origin.test:${port}/slow?token=secret`,
      headers: { Host: `origin.test:${port}`, Authorization: 'Bearer secret' },
    })
    const answered = once(request, 'response') as Promise<[IncomingMessage]>
    request.end('secret')
    const response = await arrived
    const [waiting] = await live()
    t.match(waiting, {
      id: 1,
      method: 'POST',
      host: /^origin\.test:\d+$/,
      path: '/slow',
      state: 'waiting',
      bytes: 0,
    })
    t.notMatch(JSON.stringify(waiting), 'secret')

    response.write(Buffer.alloc(100_000))
    const [answer] = await answered
    await once(answer, 'data')
    const [answering] = await live()
    t.equal(answering?.state, 'answering')
    t.ok((answering?.bytes ?? 0) > 10_000)
    t.ok((answering?.age_ms ?? 0) >= (waiting?.age_ms ?? 0))

    response.end()
    answer.resume()
    await once(answer, 'end')
    // The client has the end a moment before the proxy knows.
    while ((await live()).length > 0);
  },
)

t.test('what a stream of HTTP/2 has taken is counted for it alone', async (t) => {
  const { proxy, live } = await startWatched(t)
  const origin = await startHttp2Origin(t, proxy, (stream, headers) => {
    stream.respond({ ':status': 200 })
    stream.write(Buffer.alloc(Number(headers[':path']?.slice(1))))
  })
  const session = await openHttp2(t, proxy, origin.port)
  for (const size of [1_000, 50_000]) {
    const stream = session.request({ ':path': `/${size}`, ':authority': `origin.test:${origin.port}` })
    let left = size
    while (left > 0) left -= ((await once(stream, 'data')) as [Buffer])[0].length
  }
  t.match(await live(), [
    { path: '/1000', state: 'answering', bytes: 1_000 },
    { path: '/50000', state: 'answering', bytes: 50_000 },
  ])
})

t.test('a connection that has switched protocols is shown as such', async (t) => {
  const { proxy, live } = await startWatched(t)
  const { server, port } = await startHttpOrigin(t, (_request, response) => void response.end())
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhere')
  })
  const client = await openRaw(
    t,
    proxy.port,
    `GET http://origin.test:${port}/attach HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
  )
  await client.until(/here$/)
  t.match(await live(), [{ path: '/attach', state: 'switched' }])
})

t.test('metrics count what has ended, by status and cache, in the format of Prometheus', async (t) => {
  const { proxy, get } = await startWatched(t, { blocklist: { domains: ['bad.test'], ips: [] } })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('x'.repeat(1_000)))
  const origin = `http://origin.test:${port}`
  await proxy.curl('-x', 'http://$PROXY', `${origin}/a`)
  await proxy.curl('-x', 'http://$PROXY', `${origin}/plain/b`)
  await proxy.curl('-x', 'http://$PROXY', `${origin}/plain/b`)
  await proxy.curl('-x', 'http://$PROXY', 'http://bad.test/?token=secret')
  const text = await get('/metrics')
  for (const line of [
    'discobot_proxy_requests_total{status="200",cache="none"} 1',
    'discobot_proxy_requests_total{status="200",cache="miss"} 1',
    'discobot_proxy_requests_total{status="200",cache="hit"} 1',
    'discobot_proxy_requests_total{status="403",cache="none"} 1',
    'discobot_proxy_request_duration_seconds_count 4',
    'discobot_proxy_requests_live 0',
    'discobot_cache_stores_total 1',
  ]) {
    t.ok(text.includes(`\n${line}\n`), line)
  }
  t.match(text, /\ndiscobot_cache_served_bytes_total\{rule="[^"]+"\} 2000\n/)
  t.notMatch(text, /secret|bad\.test/)
  for (const line of text.trimEnd().split('\n')) {
    t.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [\d.e+-]+)$/)
  }
})
