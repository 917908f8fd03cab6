import { request, type IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { tableBelow } from '../../../test/lab/documented.js'
import { controlRoutes } from '../routes.js'
import { startControlServer } from '../server.js'
import { LogStore } from '../../logs/log-store.js'
import { UnknownServiceError } from '../../services/errors.js'
import { shortFolder } from '../../../test/lab/service-lab.js'

// Each route of the control socket keeps its answers: status, media type, body, code.

interface Asking {
  readonly body?: string
  readonly headers?: Record<string, string>
}

type Case = readonly [request: string, asking: Asking, status: number, body: object | RegExp | undefined]

const INVALID = { code: 'CONTROL_REQUEST_INVALID' }
const REFUSED = { code: 'CONTROL_REFUSED' }
const TOKEN = { headers: { authorization: 'Bearer the-right-one' } }
const WRONG = { headers: { authorization: 'Bearer wrong' } }

const CASES: readonly Case[] = [
  ['GET /status', {}, 200, { phase: 'running' }],
  ['HEAD /status', {}, 200, undefined],
  ['POST /status', {}, 405, INVALID],
  ['GET /nothing', {}, 404, INVALID],
  ['GET /status', { headers: { origin: 'http://localhost' } }, 400, INVALID],
  ['GET /status', WRONG, 200, { phase: 'running' }],
  ['GET /logs', {}, 200, /^\{.*"seq":1.*"text":"said".*\}\n$/],
  ['GET /logs?service=agent&lines=0', {}, 200, /^$/],
  ['GET /logs?after=0&service=agent', {}, 200, /"text":"said"/],
  ['GET /logs?service=none', {}, 404, INVALID],
  ['GET /logs?lines=-1', {}, 400, INVALID],
  ['GET /logs?line=1', {}, 400, INVALID],
  ['POST /services/web/restart', {}, 200, { name: 'web', did: 'restart' }],
  ['POST /services/web/start', TOKEN, 200, { name: 'web', did: 'start' }],
  ['POST /services/web/stop', WRONG, 403, REFUSED],
  ['POST /services/proxy/stop', TOKEN, 403, REFUSED],
  ['POST /services/proxy/stop', {}, 200, { name: 'proxy' }],
  ['POST /services/none/start', {}, 404, { code: 'SERVICE_UNKNOWN' }],
  ['POST /services/web/explode', {}, 404, INVALID],
  ['GET /services/web/start', {}, 405, INVALID],
  ['POST /signal', { body: '{"signal": "HUP"}' }, 200, { taken: true }],
  ['POST /signal', { body: '{"signal": "sigusr1", "service": "web"}' }, 200, { taken: false }],
  ['POST /signal', { body: '{"signal": "KILL"}' }, 400, INVALID],
  ['POST /signal', { body: '{"signal": "HUP", "x": 1}' }, 400, INVALID],
  ['POST /signal', { body: '[]' }, 400, INVALID],
  ['POST /signal', { body: '{' }, 400, INVALID],
  ['POST /signal', {}, 400, INVALID],
  ['POST /signal', { body: 'x'.repeat(4_097) }, 413, INVALID],
  ['POST /signal', { body: '{"signal": "HUP"}', ...TOKEN }, 403, REFUSED],
  ['POST /reload', {}, 200, { reloaded: true }],
  ['POST /reload', TOKEN, 403, REFUSED],
]

t.test('each route of the control socket keeps its answers', async (t) => {
  const socketPath = join(shortFolder(t), 'agent.sock')
  const logs = new LogStore({ maxBytesPerService: 10_000 })
  logs.add({ time: 0, service: 'agent', stream: 'agent', level: 'info', text: 'said' })
  const server = await startControlServer({
    socketPath,
    logger: silentLogger,
    ownUid: process.getuid?.() ?? -1,
    token: 'the-right-one',
    actions: {
      logs,
      status: () => ({ phase: 'running', boot: [], services: [] }) as never,
      change: async (name, did) => {
        if (name === 'none') throw new UnknownServiceError(name, ['web', 'proxy'])
        return { name, did } as never
      },
      signal: (_signal, service) => service === undefined,
      reload: () => Promise.resolve(),
      guards: (name) => name === 'proxy',
    },
  })
  t.teardown(() => server.close())
  for (const [asked, asking, status, body] of CASES) {
    const [method = '', path = ''] = asked.split(' ')
    const name = `${asked} ${JSON.stringify(asking).slice(0, 80)}`
    const answer = await ask(socketPath, method, path, asking)
    t.equal(answer.status, status, name)
    const lines = path.startsWith('/logs') ? 'application/x-ndjson' : 'application/json'
    t.equal(
      answer.headers['content-type'],
      status >= 400 ? 'application/problem+json' : lines,
      `${name}: type`,
    )
    t.equal(answer.headers['cache-control'], 'no-store', name)
    if (body instanceof RegExp) t.match(answer.text, body, `${name}: body`)
    else if (body === undefined) t.equal(answer.text, '', `${name}: body`)
    else t.match(JSON.parse(answer.text), body, `${name}: body`)
    if (status < 400) continue
    const problem = JSON.parse(answer.text) as object
    t.strictSame(Object.keys(problem), ['type', 'title', 'status', 'detail', 'code'], `${name}: a problem`)
    t.match(problem, { type: 'about:blank', title: String, status, detail: /^cannot / }, `${name}: says why`)
    if (status === 405) t.match(answer.headers.allow, asked === 'POST /status' ? 'GET, HEAD' : 'POST', name)
  }
})

/** The levels of access in the words of the page. */
const WHO = { open: '', token: '', read: 'everybody who can connect', write: 'root, the token', peer: 'root' }

t.test('docs/control.md has each route, and for whom it is', (t) => {
  const logs = new LogStore({ maxBytesPerService: 1_000 })
  const routes = controlRoutes({ logs } as never)
  t.strictSame(
    tableBelow('control.md', '## The socket').map(([request, who]) => [request, who]),
    routes.map(({ method, path, access }) => [`${method} ${path}`, WHO[access]]),
  )
  t.end()
})

function ask(
  socketPath: string,
  method: string,
  path: string,
  { body, headers = {} }: Asking,
): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers, agent: false }, (answer) => {
      let text = ''
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()))
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text }))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
