import { readFileSync } from 'node:fs'
import { request, type IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { documentedTypes, type Document } from '../../../test/lab/documented.js'
import { folder, json, start } from '../../../test/lab/program.js'

// Each route of the API keeps its answers: status, media type, body and the headers that clients go by.

interface Asking {
  readonly body?: string
  readonly type?: string
  readonly headers?: Record<string, string>
  /** Shows the token. */
  readonly token?: true
}

interface Expected {
  readonly status: number
  /** JSON unless it says otherwise. */
  readonly type?: string | undefined
  readonly body?: object | RegExp | string
  readonly headers?: object
}

type Case = readonly [request: string, asking: Asking, expected: Expected]

const JSON_TYPE = 'application/json'
const UNAUTHORIZED = { 'www-authenticate': /^Bearer realm="discobot-proxy"/ }
const TOKEN_WANTED = {
  status: 401,
  body: { error: /<data>\/proxy\/api-token/ },
  headers: UNAUTHORIZED,
}
const JOB = { id: String, state: String, references: Array }
const VERIFICATION = { state: String, entries: 0, checked: 0, bad: 0 }

const CASES: readonly Case[] = [
  ['GET /health', {}, { status: 200, body: { status: 'ok', ca_cert: String } }],
  ['HEAD /health', {}, { status: 200, body: '' }],
  ['OPTIONS /health', {}, { status: 204, type: undefined, headers: { allow: 'GET, HEAD, OPTIONS' } }],
  ['POST /health', {}, { status: 405, body: { error: String }, headers: { allow: 'GET, HEAD, OPTIONS' } }],
  ['GET /metrics', {}, { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: /^# HELP / }],
  ['HEAD /metrics', {}, { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: '' }],
  ['GET /api/requests', {}, { status: 200, body: { requests: [] } }],
  ['GET /api/cache/stats', {}, { status: 200, body: { hits: 0, misses: 0, current_size: 0, rules: Object } }],
  ['GET /api/cache/entries', {}, { status: 200, body: { entries: [], next: null } }],
  ['GET /api/cache/entries?rule=npm&limit=20', {}, { status: 200, body: { entries: [] } }],
  ['GET /api/cache/entries?limit=0', {}, { status: 400, body: { error: /limit/ } }],
  ['GET /api/cache/entries?limit=1001', {}, { status: 400, body: { error: /limit/ } }],
  ['GET /api/cache/entries?cursor=x', {}, { status: 400, body: { error: /cursor/ } }],
  ['GET /api/cache/entries?key=', {}, { status: 400, body: { error: /key/ } }],
  ['GET /api/cache/entries?rul=npm', {}, { status: 400, body: { error: /rul/ } }],
  ['GET /api/cache/entries?rule=a&rule=b', {}, { status: 400, body: { error: /rule/ } }],
  ['DELETE /api/cache/entries', {}, { status: 400, body: { error: /DELETE \/api\/cache removes all/ } }],
  ['DELETE /api/cache/entries?limit=1', {}, { status: 400, body: { error: /limit/ } }],
  ['DELETE /api/cache/entries?rule=npm', {}, { status: 200, body: { status: 'ok', entries: 0, bytes: 0 } }],
  ['DELETE /api/cache', {}, { status: 200, body: { status: 'ok', entries: 0, bytes: 0 } }],
  ['GET /api/cache', {}, { status: 405, headers: { allow: 'DELETE, OPTIONS' } }],
  ['GET /api/cache/verify', {}, { status: 404, body: { error: /POST begins it/ } }],
  ['POST /api/cache/verify', {}, { status: 202, body: VERIFICATION }],
  ['GET /api/cache/verify', {}, { status: 200, body: VERIFICATION }],
  [
    'GET /api/config',
    {},
    { status: 200, body: { revision: String, config: Object }, headers: { etag: /^".+"$/ } },
  ],
  ['PUT /api/config', {}, TOKEN_WANTED],
  ['POST /api/config', {}, TOKEN_WANTED],
  ['PATCH /api/config', {}, TOKEN_WANTED],
  [
    'PATCH /api/config',
    { headers: { authorization: 'Bearer x' } },
    { ...TOKEN_WANTED, headers: { 'www-authenticate': /error="invalid_token"/ } },
  ],
  [
    'PATCH /api/config',
    { token: true, body: '{}', type: 'application/merge-patch+json' },
    {
      status: 200,
      body: { status: 'ok', persisted: false, pending_restart: [] },
      headers: { etag: /^".+"$/ },
    },
  ],
  ['PUT /api/config', { token: true, body: '{}', type: 'text/plain' }, { status: 415 }],
  ['PUT /api/config', { token: true, body: '{}' }, { status: 415 }],
  [
    'PUT /api/config',
    { token: true, body: '{', type: JSON_TYPE },
    { status: 400, body: { error: /not valid JSON/ } },
  ],
  ['PUT /api/config?persist=yes', { token: true, body: '{}', type: JSON_TYPE }, { status: 400 }],
  [
    'PUT /api/config?x=1',
    { token: true, body: '{}', type: JSON_TYPE },
    { status: 400, body: { error: /"x"/ } },
  ],
  [
    'PUT /api/config',
    { token: true, body: '{"nonsense": 1}', type: JSON_TYPE },
    {
      status: 422,
      body: {
        error: /nothing was changed/,
        code: 'CONFIG_INVALID',
        problems: [{ option: 'nonsense', message: String }],
      },
    },
  ],
  [
    'PATCH /api/config',
    { token: true, body: '{}', type: JSON_TYPE, headers: { 'if-match': '"another"' } },
    { status: 412, body: { error: String, code: 'CONFIG_REVISION_STALE' } },
  ],
  ['PATCH /api/config', { token: true, body: ' '.repeat(1024 * 1024 + 1), type: JSON_TYPE }, { status: 413 }],
  ['DELETE /api/config', {}, { status: 405, headers: { allow: 'GET, PUT, POST, PATCH, HEAD, OPTIONS' } }],
  [
    'POST /api/explain',
    { body: '{"method": "GET", "url": "http://127.0.0.1/"}', type: JSON_TYPE },
    { status: 200, body: { in_force: { from: 'api' } } },
  ],
  [
    'POST /api/explain',
    { body: '{}', type: JSON_TYPE },
    { status: 422, body: { error: /write \{"method"/ } },
  ],
  ['POST /api/explain', { body: '{"method": "G T", "url": "x"}', type: JSON_TYPE }, { status: 422 }],
  ['POST /api/explain', { body: '{}' }, { status: 415 }],
  ['GET /api/cache/prewarm', {}, { status: 200, body: { jobs: [] } }],
  ['GET /api/cache/prewarm?id=none', {}, { status: 404, body: { error: /no job "none"/ } }],
  ['DELETE /api/cache/prewarm?id=none', {}, { status: 404 }],
  [
    'POST /api/cache/prewarm',
    { body: '{}', type: JSON_TYPE },
    { status: 422, body: { error: /"references"/ } },
  ],
  [
    'POST /api/cache/prewarm',
    { body: '{"references": ["http://127.0.0.1:1/x"]}', type: JSON_TYPE },
    { status: 202, body: JOB, headers: { location: /^\/api\/cache\/prewarm\?id=/ } },
  ],
  ['GET /api/cache/export', {}, TOKEN_WANTED],
  ['GET /api/cache/export', { token: true }, { status: 200, type: 'application/x-tar' }],
  ['HEAD /api/cache/export', { token: true }, { status: 200, type: 'application/x-tar', body: '' }],
  ['GET /api/cache/export?rule=npm&rule=pypi', { token: true }, { status: 200, type: 'application/x-tar' }],
  ['GET /api/cache/export?key=x', { token: true }, { status: 400, body: { error: /"key"/ } }],
  ['POST /api/cache/import', {}, TOKEN_WANTED],
  ['POST /api/cache/import', { token: true, body: 'x', type: JSON_TYPE }, { status: 415 }],
  [
    'POST /api/cache/import',
    { token: true, body: 'x'.repeat(1024), type: 'application/x-tar' },
    { status: 422, body: { error: String, code: 'CACHE_ARCHIVE_INVALID' } },
  ],
  [
    'POST /api/cache/import',
    { token: true, body: '\0'.repeat(1024), type: 'application/x-tar' },
    { status: 200, body: { entries: 0, present: 0 } },
  ],
  ['GET /nothing', {}, { status: 404, body: { error: String, routes: Array } }],
  ['GET /health', { headers: { host: 'evil.test' } }, { status: 403, body: { error: /Host/ } }],
  ['GET /health', { headers: { origin: 'http://evil.test' } }, { status: 403, body: { error: /origins/ } }],
  [
    'GET /health',
    { headers: { 'sec-fetch-site': 'cross-site' } },
    { status: 403, body: { error: /origins/ } },
  ],
]

/** Of no route, or answered for all of them. */
const UNDOCUMENTED = [
  'OPTIONS /health',
  'POST /health',
  'GET /api/cache',
  'DELETE /api/config',
  'GET /nothing',
]

t.test('each route keeps its answers, and describes them', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, {})
  const document = (await json(`http://127.0.0.1:${program.apiPort}/openapi.json`)) as unknown as Document
  const token = readFileSync(join(dir, 'proxy', 'api-token'), 'utf8').trim()
  for (const [asked, asking, expected] of CASES) {
    const [method = '', path = ''] = asked.split(' ')
    const name = `${asked} ${JSON.stringify(asking).slice(0, 100)}`
    const answer = await ask(program.apiPort, method, path, asking, token)
    t.equal(answer.status, expected.status, name)
    const type = 'type' in expected ? expected.type : JSON_TYPE
    t.equal(answer.headers['content-type'], type, `${name}: media type`)
    t.match(answer.headers, { 'cache-control': 'no-store', ...expected.headers }, `${name}: headers`)
    if (!UNDOCUMENTED.includes(asked)) {
      const types = documentedTypes(document, asked, answer.status)
      t.ok(types?.includes(answer.headers['content-type'] ?? ''), `${name}: /openapi.json has it`)
    }
    const { body } = expected
    if (typeof body === 'string') t.equal(answer.text, body, `${name}: body`)
    else if (body instanceof RegExp) t.match(answer.text, body, `${name}: body`)
    else if (body !== undefined) t.match(JSON.parse(answer.text), body, `${name}: body`)
    if (answer.status >= 400) t.match(JSON.parse(answer.text), { error: String }, `${name}: says why`)
  }
})

function ask(
  port: number,
  method: string,
  path: string,
  { body, type, headers = {}, token: shows }: Asking,
  token: string,
): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        agent: false,
        headers: {
          ...(type === undefined ? {} : { 'content-type': type }),
          ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
          ...(shows === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...headers,
        },
      },
      (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        )
        response.on('error', reject)
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}
