import { request } from 'node:http'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { ApiServer, type ApiOptions } from '../server.js'
import type { ResponseCache } from '../../cache/response-cache.js'
import { cacheRoutes } from '../cache-routes.js'
import { statusRoutes } from '../status-routes.js'
import { noCache } from '../../cache/open-cache.js'
import { openRaw } from '../../../test/lab/harness.js'
import { OPEN_ACCESS } from '../../../test/lab/open-access.js'

const STATS = {
  hits: 3,
  misses: 1,
  stores: 1,
  evictions: 0,
  errors: 0,
  current_size: 4096,
  hit_rate: 0.75,
  memory_size: 0,
  rules: {},
}

async function startApi(
  t: Test,
  extra: Partial<ApiOptions> = {},
): Promise<{ port: number; cleared: () => number }> {
  let cleared = 0
  const cache: ResponseCache = {
    ...noCache(),
    stats: () => STATS,
    clear: () => {
      cleared += 1
      return Promise.resolve({ entries: 1, bytes: 4096 })
    },
  }
  const api = new ApiServer({
    host: '127.0.0.1',
    port: 0,
    access: OPEN_ACCESS,
    routes: [
      ...statusRoutes({
        caCertPath: '/.data/proxy/certs/ca.crt',
        configTrouble: () => undefined,
        withheld: () => undefined,
        findings: () => [],
      }),
      ...cacheRoutes({ cache, logger: silentLogger }),
    ],
    logger: silentLogger,
    ...extra,
  })
  const port = await api.start()
  t.teardown(() => api.stop())
  return { port, cleared: () => cleared }
}

interface Answer {
  readonly status: number
  readonly allow: string | undefined
  readonly body: unknown
}

function ask(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          allow: response.headers.allow,
          body: text === '' ? undefined : (JSON.parse(text) as unknown),
        }),
      )
    })
    sent.on('error', reject)
    sent.end()
  })
}

t.test('health, figures and clearing answer as documented', async (t) => {
  const { port, cleared } = await startApi(t)
  t.match(await ask(port, 'GET', '/health'), {
    status: 200,
    body: { status: 'ok', ca_cert: '/.data/proxy/certs/ca.crt' },
  })
  t.strictSame((await ask(port, 'GET', '/api/cache/stats')).body, STATS)
  t.equal((await ask(port, 'HEAD', '/health')).status, 200)
  t.match(await ask(port, 'DELETE', '/api/cache'), {
    status: 200,
    body: { status: 'ok', entries: 1 },
  })
  t.equal(cleared(), 1)
})

t.test('unknown routes and methods say what there is', async (t) => {
  const { port, cleared } = await startApi(t)
  t.match(await ask(port, 'GET', '/nothing'), {
    status: 404,
    body: {
      routes: ['/health', '/api/cache/stats', '/api/cache', '/api/cache/entries', '/api/cache/verify'],
    },
  })
  t.match(await ask(port, 'GET', '/__proto__'), { status: 404 })
  t.match(await ask(port, 'POST', '/api/cache'), { status: 405, allow: 'DELETE' })
  t.equal(cleared(), 0)
})

t.test(
  'a page in a browser can neither read nor clear: foreign Host and Origin are refused on every route',
  async (t) => {
    const { port, cleared } = await startApi(t)
    for (const [method, path] of [
      ['GET', '/health'],
      ['GET', '/api/cache/stats'],
      ['DELETE', '/api/cache'],
      ['GET', '/nothing'],
    ] as const) {
      for (const headers of [
        { Host: `evil.test:${port}` },
        { Host: '192.0.2.1' },
        { Host: 'localhost.evil.test' },
        { Host: `127.0.0.1:${port}`, Origin: 'https://evil.test' },
        { Host: `127.0.0.1:${port}`, Origin: 'http://localhost:3000' },
        { Host: `127.0.0.1:${port}`, Origin: 'null' },
      ]) {
        t.equal(
          (await ask(port, method, path, headers)).status,
          403,
          `${method} ${path} ${JSON.stringify(headers)}`,
        )
      }
    }
    t.equal(cleared(), 0)
    for (const host of ['localhost', `localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
      t.equal((await ask(port, 'GET', '/health', { Host: host })).status, 200, host)
    }
  },
)

t.test('a request with a body does not become the next request', async (t) => {
  const { port, cleared } = await startApi(t)
  const smuggled = 'DELETE /api/cache HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const client = await openRaw(
    t,
    port,
    `GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${smuggled.length + 1}\r\n\r\n${smuggled}`,
  )
  t.match((await client.closed()).text, /^HTTP\/1\.1 200 OK/)
  t.equal(cleared(), 0)
})

t.test('OPTIONS and HEAD are answered, and connections are used again', async (t) => {
  const { port } = await startApi(t)
  const client = await openRaw(
    t,
    port,
    [
      'OPTIONS /health HTTP/1.1\r\nHost: localhost\r\n\r\n',
      'HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n',
      'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    ].join(''),
  )
  const { text } = await client.closed()
  const [options = '', head = '', get = ''] = text.split(/(?=HTTP\/1\.1)/)
  t.match(options, /^HTTP\/1\.1 204 .*\r\nAllow: GET, HEAD, OPTIONS\r\n/s)
  t.match(head, /^HTTP\/1\.1 200 .*\r\nContent-Length: \d+\r\n.*\r\n\r\n$/s)
  t.match(get, /^HTTP\/1\.1 200 .*"status":"ok"/s)
})

t.test('a request that does not come to its end is not waited for', async (t) => {
  const { port } = await startApi(t, { headersLimitMs: 300 })
  const client = await openRaw(t, port, 'GET /health HTTP/1.1\r\nHost: loc')
  t.match((await client.closed()).text, /^HTTP\/1\.1 408 /)
})
