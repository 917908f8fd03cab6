import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { documentedTypes, type Document } from '../../../test/lab/documented.js'
import { startControlServer } from '../../control/server.js'
import { LogStore } from '../../logs/log-store.js'
import { silentLogger } from '../../../base/log/logger.js'
import { ask, jsonAsking, repository, startApi, type Asking } from '../../../test/lab/api-process.js'
import { shortFolder } from '../../../test/lab/service-lab.js'

// Each route of the agent API keeps its answers: status, media type, body and the headers that clients go by.

interface Expected {
  readonly status: number
  /** A problem (RFC 9457) from 400 on, else JSON, unless it says otherwise. */
  readonly type?: string | undefined
  readonly body?: object | RegExp | string
  readonly headers?: object
}

type Case = readonly [request: string, asking: Asking, expected: Expected]

const TAGGED = { etag: /^".+"$/ }
const put = (body: string, headers: Record<string, string> = {}): Asking => ({ body, headers })

const CASES: readonly Case[] = [
  ['GET /health', {}, { status: 200, body: { status: 'ok' } }],
  ['HEAD /health', {}, { status: 200, body: '' }],
  ['OPTIONS /health', {}, { status: 405, headers: { allow: 'GET, HEAD' } }],
  ['POST /health', {}, { status: 405, headers: { allow: 'GET, HEAD' } }],
  ['GET /health?x=1', {}, { status: 400, body: { detail: /"x" is not known/ } }],
  ['GET /health', put('x', { 'content-length': '1' }), { status: 400, body: { detail: /takes no body/ } }],
  ['GET /health', { headers: { expect: 'x' } }, { status: 417 }],
  ['GET /health', { headers: { host: 'evil.test' } }, { status: 421 }],
  ['GET /health', { headers: { origin: 'http://evil.test' } }, { status: 403 }],
  ['GET /openapi.json', {}, { status: 200, body: { openapi: '3.1.0' } }],
  ['GET /api/status', {}, { status: 200, body: { status: 'ok', phase: 'running', degraded: [] } }],
  [
    'GET /api/services/agent/logs?once=true',
    {},
    { status: 200, type: 'text/event-stream', body: /^id: \d+\ndata: \{.*"text":"said"/ },
  ],
  ['GET /api/services/none/logs?once=true', {}, { status: 404 }],
  ['HEAD /api/services/agent/logs', {}, { status: 405, body: '', headers: { allow: 'GET' } }],
  ['GET /api/services/agent/logs?lines=x', {}, { status: 400, body: { detail: /"lines"/ } }],
  ['GET /api/services/agent/logs', { headers: { 'last-event-id': 'x' } }, { status: 400 }],
  ['POST /api/services/web/restart', {}, { status: 200, body: { name: 'web' } }],
  [
    'POST /api/exec',
    jsonAsking({ argv: ['echo', 'a'] }),
    {
      status: 200,
      type: 'application/x-ndjson',
      body: /^\{"stream":"stdout","data":"a\\n"\}\n\{"exit":\{.*\n$/,
    },
  ],
  ['POST /api/exec', jsonAsking({ argv: ['/nonexistent'] }), { status: 422 }],
  ['POST /api/exec', jsonAsking({ argv: ['true'], cwd: 'none' }), { status: 404 }],
  ['POST /api/exec', jsonAsking({ argv: ['true'], cwd: 'file' }), { status: 409 }],
  [
    'POST /api/exec',
    put('{', { 'content-type': 'application/json' }),
    { status: 400, body: { detail: /not .*JSON/ } },
  ],
  [
    'POST /api/exec',
    put('{}', { 'content-type': 'text/plain' }),
    { status: 415, headers: { accept: 'application/json' } },
  ],
  [
    'POST /api/exec',
    put('{}', { 'content-type': 'application/json', 'content-length': '8388609' }),
    { status: 413 },
  ],
  ['GET /api/exec', {}, { status: 405, headers: { allow: 'POST' } }],
  ['GET /api/terminal', {}, { status: 426, headers: { upgrade: 'websocket' } }],
  ['HEAD /api/terminal', {}, { status: 405, body: '', headers: { allow: 'GET' } }],
  ['GET /api/terminal?cols=0', {}, { status: 400 }],
  ['GET /api/files', {}, { status: 200, body: { path: '', entries: Array, truncated: false } }],
  [
    'GET /api/files?path=file',
    {},
    {
      status: 200,
      type: 'application/octet-stream',
      body: 'content',
      headers: {
        ...TAGGED,
        'content-disposition': 'attachment',
        'accept-ranges': 'bytes',
        'last-modified': String,
      },
    },
  ],
  [
    'HEAD /api/files?path=file',
    {},
    { status: 200, type: 'application/octet-stream', body: '', headers: TAGGED },
  ],
  [
    'GET /api/files?path=file',
    { headers: { range: 'bytes=1-2' } },
    {
      status: 206,
      type: 'application/octet-stream',
      body: 'on',
      headers: { 'content-range': 'bytes 1-2/7' },
    },
  ],
  [
    'GET /api/files?path=file',
    { headers: { range: 'bytes=9-' } },
    { status: 416, headers: { 'content-range': 'bytes */7' } },
  ],
  [
    'GET /api/files?path=file',
    { headers: { 'if-none-match': '*' } },
    { status: 304, type: undefined, headers: TAGGED },
  ],
  ['GET /api/files?path=none', {}, { status: 404 }],
  ['GET /api/files?path=outside', {}, { status: 403 }],
  ['GET /api/files?path=../out', {}, { status: 400 }],
  ['GET /api/files?path=a&path=b', {}, { status: 400, body: { detail: /twice/ } }],
  ['PUT /api/files', {}, { status: 400, body: { detail: /"path" is missing/ } }],
  [
    'PUT /api/files?path=new',
    put('x'),
    { status: 201, body: { path: 'new', type: 'file', bytes: 1 }, headers: TAGGED },
  ],
  ['PUT /api/files?path=new', put('yy'), { status: 200, body: { bytes: 2 }, headers: TAGGED }],
  ['PUT /api/files?path=new', put('z', { 'if-none-match': '*' }), { status: 412 }],
  ['PUT /api/files?path=new', put('x'.repeat(1_001)), { status: 413 }],
  ['PUT /api/files?path=folder&type=folder', {}, { status: 201, body: { path: 'folder', type: 'folder' } }],
  ['PUT /api/files?path=folder&type=folder', {}, { status: 200 }],
  ['PUT /api/files?path=folder', put('x'), { status: 409 }],
  ['PUT /api/files?path=file&type=x', {}, { status: 400, body: { detail: /"type"/ } }],
  ['DELETE /api/files?path=new', {}, { status: 204, type: undefined, body: '' }],
  ['DELETE /api/files?path=new', {}, { status: 404 }],
  ['GET /api/git/status', {}, { status: 200, body: { branch: 'main', files: Array, truncated: false } }],
  [
    'GET /api/git/diff',
    {},
    { status: 200, type: 'text/x-diff', body: '', headers: { 'discobot-truncated': 'false' } },
  ],
  ['GET /api/git/diff?base=none', {}, { status: 404 }],
  ['GET /api/git/diff?path=/etc', {}, { status: 400 }],
  ['GET /nothing', {}, { status: 404 }],
  ['GET /api/services//logs', {}, { status: 404 }],
]

const SAFE = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'cross-origin-resource-policy': 'same-origin',
}

const NOWHERE = ['GET /nothing', 'GET /api/services//logs']

t.test('each route keeps its answers, and describes them', async (t) => {
  const workspace = repository(t.testdir())
  symlinkSync('/etc/hostname', join(workspace, 'outside'))
  const api = await startApi(t, {
    DISCOBOT_WORKSPACE_PATH: workspace,
    DISCOBOT_AGENT_SOCKET: await control(t),
    DISCOBOT_API_MAX_UPLOAD: '1000',
  })
  const document = JSON.parse((await ask(api.port, '/openapi.json')).body) as Document
  for (const [asked, asking, expected] of CASES) {
    const [method = '', path = ''] = asked.split(' ')
    const name = `${asked} ${JSON.stringify(asking).slice(0, 100)}`
    const answer = await ask(api.port, path, { ...asking, method })
    t.equal(answer.status, expected.status, name)
    const usual = answer.status >= 400 ? 'application/problem+json' : 'application/json'
    t.equal(answer.headers['content-type'], 'type' in expected ? expected.type : usual, `${name}: media type`)
    t.match(answer.headers, { ...SAFE, ...expected.headers }, `${name}: headers`)
    const isOfARoute = ![405, 417].includes(answer.status) && !NOWHERE.includes(asked)
    if (isOfARoute) {
      const types = documentedTypes(document, asked, answer.status)
      const type = answer.headers['content-type']
      t.ok(type === undefined ? types?.length === 0 : types?.includes(type), `${name}: /openapi.json has it`)
    }
    const { body } = expected
    if (typeof body === 'string') t.equal(answer.body, body, `${name}: body`)
    else if (body instanceof RegExp) t.match(answer.body, body, `${name}: body`)
    else if (body !== undefined) t.match(JSON.parse(answer.body), body, `${name}: body`)
    if (answer.status >= 400 && method !== 'HEAD') {
      const problem = JSON.parse(answer.body) as object
      t.strictSame(Object.keys(problem), ['title', 'status', 'detail'], `${name}: a problem`)
      t.match(problem, { title: String, status: answer.status, detail: String }, `${name}: says why`)
    }
  }
})

t.test('without an agent, what goes through it is 503', async (t) => {
  const api = await startApi(t)
  for (const [method, path] of [
    ['GET', '/api/services/web/logs'],
    ['POST', '/api/services/web/restart'],
  ] as const)
    t.match(await ask(api.port, path, { method }), {
      status: 503,
      headers: { 'content-type': 'application/problem+json' },
    })
})

/** The socket of an agent with one service. */
async function control(t: Test): Promise<string> {
  const socketPath = join(shortFolder(t), 'agent.sock')
  const logs = new LogStore({ maxBytesPerService: 10_000 })
  logs.add({ time: 0, service: 'agent', stream: 'agent', level: 'info', text: 'said' })
  const server = await startControlServer({
    socketPath,
    logger: silentLogger,
    ownUid: process.getuid?.() ?? -1,
    actions: {
      logs,
      status: () => ({ phase: 'running', boot: [], services: [] }) as never,
      change: (name) => Promise.resolve({ name } as never),
      signal: () => true,
      reload: () => Promise.resolve(),
      guards: () => false,
    },
  })
  t.teardown(() => server.close())
  return socketPath
}
