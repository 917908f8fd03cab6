import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { loadDefaultConfig } from '../../../config/layers/load.js'
import { silentLogger } from '../../../base/log/logger.js'
import { LiveConfig } from '../../live/live-config.js'
import { openRaw } from '../../../test/lab/harness.js'
import { folder, start, type Program } from '../../../test/lab/program.js'

// Changing the configuration of a proxy that runs over its API.

const PORTS = 'proxy: { port: 0, api_port: 0 }\n'
const SECRET = 'Bearer 0123456789abcdef'
const PATCH = 'application/merge-patch+json'
const JSON_TYPE = 'application/json'
const YAML = 'application/yaml'

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  readonly body: Record<string, unknown>
}

type Ask = (
  method: string,
  path: string,
  body?: string,
  headers?: Record<string, string | undefined>,
) => Promise<Answer>

type Api = Ask & { readonly token: string }

/** Asks with the right token unless `headers` say otherwise. */
function apiOf(program: Pick<Program, 'apiPort'>, dir: string): Api {
  const token = readFileSync(join(dir, 'proxy', 'api-token'), 'utf8').trim()
  const ask: Ask = (method, path, body, headers = {}) =>
    new Promise((resolve, reject) => {
      const all = { Authorization: `Bearer ${token}`, ...headers }
      const present = Object.entries(all).filter((pair): pair is [string, string] => pair[1] !== undefined)
      const options = {
        host: '127.0.0.1',
        port: program.apiPort,
        method,
        path,
        headers: Object.fromEntries(present),
      }
      const sent = request(options, (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            body: (text.startsWith('{') ? JSON.parse(text) : {}) as Record<string, unknown>,
          }),
        )
      })
      sent.on('error', reject)
      sent.end(body)
    })
  return Object.assign(ask, { token })
}

const patch = (api: Api, value: unknown, query = '', headers: Record<string, string> = {}): Promise<Answer> =>
  api('PATCH', `/api/config${query}`, JSON.stringify(value), { 'Content-Type': PATCH, ...headers })

t.test('GET shows what is in force, where each key comes from, and no secret', async (t) => {
  const dir = folder(t)
  const rule = `headers: { api.test: { set: { Authorization: ${SECRET} }, conditions: [{ header: X-Team, equals: ${SECRET} }] } }\n`
  const program = await start(t, dir, `${PORTS}${rule}cache:\n  max_size: 1GB\n`)
  const api = apiOf(program, dir)
  const { status, headers, text, body } = await api('GET', '/api/config', undefined, {
    Authorization: undefined,
  })
  t.equal(status, 200, 'no token is needed to look')
  t.notMatch(text, /0123456789abcdef/)
  const file = join(dir, 'config.yaml')
  t.match(body, {
    from: 'file',
    file,
    state: 'in force',
    problems: [],
    pending_restart: [],
    config: {
      cache: { max_size: 1024 ** 3 },
      headers: {
        'api.test': {
          set: { Authorization: '[redacted]' },
          conditions: [{ header: 'X-Team', equals: '[redacted]' }],
        },
      },
    },
    sources: {
      'cache.max_size': { from: 'file', file, line: 4, col: 13 },
      'cache.enabled': { from: 'default' },
      'headers.api.test': { from: 'file', line: 2 },
    },
  })
  t.equal(headers['etag'], `"${String(body['revision'])}"`)
  const head = await api('HEAD', '/api/config')
  t.strictSame([head.status, head.text], [200, ''])
})

t.test('PATCH and PUT apply at once, whole or not at all, until the file changes', async (t) => {
  const dir = folder(t)
  const program = await start(
    t,
    dir,
    `${PORTS}headers: { Api.Test: { set: { A: one } } }\nblocklist: { domains: [old.test] }\n`,
  )
  const api = apiOf(program, dir)
  const config = async (): Promise<unknown> => (await api('GET', '/api/config')).body['config']

  const first = await patch(api, { blocklist: { domains: ['new.test'] }, cache: { max_size: '5GB' } })
  t.match(first, { status: 200, body: { status: 'ok', persisted: false, lasts: /file changes.*next start/ } })
  t.match(await config(), { blocklist: { domains: ['new.test'] }, cache: { max_size: 5 * 1024 ** 3 } })
  await patch(api, { cache: { max_size: null }, headers: { 'api.test': { append: { B: 'two' } } } })
  t.match(await config(), {
    cache: { max_size: 20 * 1024 ** 3 },
    headers: { 'api.test': { set: { A: '[redacted]' }, append: { B: '[redacted]' } } },
  })

  const bad = await patch(api, { blocklist: { domains: ['x.test'], ips: ['10.0.0.1/8'] }, cahce: {} })
  t.match(bad, {
    status: 422,
    body: {
      code: 'CONFIG_INVALID',
      problems: [
        { option: 'blocklist.ips[0]', message: /10\.0\.0\.1\/8/ },
        { option: 'cahce', message: /did you mean "cache"/ },
      ],
    },
  })
  t.notMatch(bad.text, /"line"|"file"/, 'JSON has no lines')
  t.match(await config(), { blocklist: { domains: ['new.test'] } }, 'nothing of it was applied')

  const yaml = (text: string, method = 'PUT'): Promise<Answer> =>
    api(method, '/api/config', text, { 'Content-Type': `${YAML}; charset=utf-8` })
  t.match(await yaml('blocklist:\n  domainz: [a]\n'), {
    status: 422,
    body: { problems: [{ line: 2, col: 3, option: 'blocklist.domainz' }] },
  })
  t.match(await yaml('blocklist: { domains: [put.test] }\n'), { status: 200, body: { pending_restart: [] } })
  t.match(await config(), { blocklist: { domains: ['put.test'] }, headers: {}, proxy: { port: 0 } })
  t.match(await yaml('blocklist: { domains: [post.test] }\n', 'POST'), { status: 200 })
  t.match((await api('GET', '/api/config')).body, {
    from: 'api',
    config: { blocklist: { domains: ['post.test'] } },
    sources: { 'blocklist.domains': { from: 'api' } },
  })
  t.equal(readFileSync(join(dir, 'config.yaml'), 'utf8').includes('old.test'), true, 'the file is as it was')
  program.process.kill('SIGHUP')
  await program.logged(/configuration reloaded/)
  t.match(await config(), { blocklist: { domains: ['old.test'] } })
})

t.test('only one of two changes for the same revision is made', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, PORTS)
  const api = apiOf(program, dir)
  const etag = String((await api('GET', '/api/config')).headers['etag'])
  const both = await Promise.all(
    ['a.test', 'b.test'].map((domain) =>
      patch(api, { blocklist: { domains: [domain] } }, '', { 'If-Match': etag }),
    ),
  )
  t.strictSame(both.map(({ status }) => status).sort(), [200, 412])
  t.match(both.find(({ status }) => status === 412)?.body, { code: 'CONFIG_REVISION_STALE' })
  t.equal((await patch(api, {}, '', { 'If-Match': '*' })).status, 200)
  const now = String((await api('GET', '/api/config')).headers['etag'])
  t.equal((await patch(api, {}, '', { 'If-Match': `W/${now}` })).status, 412, 'a weak tag matches nothing')
  t.equal((await patch(api, {}, '', { 'If-Match': `"x", ${now}` })).status, 200)
})

t.test('nobody changes anything without the token, nor a page in a browser with it', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, PORTS)
  const api = apiOf(program, dir)
  const { mode } = statSync(join(dir, 'proxy', 'api-token'))
  t.equal(mode & 0o7777, 0o600)
  t.match(api.token, /^[\w-]{43}$/)
  t.notMatch(readdirSync(join(dir, 'proxy')).join(), /\.tmp/)

  const change = JSON.stringify({ blocklist: { domains: ['x.test'] } })
  for (const method of ['PUT', 'POST', 'PATCH']) {
    for (const Authorization of [
      undefined,
      'Bearer',
      'Bearer x',
      `Basic ${api.token}`,
      `Bearer ${api.token}x`,
    ]) {
      const answer = await api(method, '/api/config', change, { 'Content-Type': JSON_TYPE, Authorization })
      t.equal(answer.status, 401, `${method} ${String(Authorization).slice(0, 8)}`)
      t.match(answer.headers['www-authenticate'], /^Bearer realm=/)
    }
    for (const headers of [{ Host: 'evil.test' }, { Origin: 'https://evil.test' }, { Origin: 'null' }]) {
      const answer = await api(method, '/api/config', change, { 'Content-Type': JSON_TYPE, ...headers })
      t.equal(answer.status, 403, `${method} ${JSON.stringify(headers)}`)
    }
    for (const type of [
      undefined,
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
    ]) {
      t.equal(
        (await api(method, '/api/config', change, { 'Content-Type': type })).status,
        415,
        `${method} ${type}`,
      )
    }
  }
  const preflight = { Origin: 'https://evil.test', 'Access-Control-Request-Method': 'PUT' }
  t.equal((await api('OPTIONS', '/api/config', undefined, preflight)).status, 403)
  t.equal((await api('GET', '/api/config', undefined, { Host: 'evil.test' })).status, 403)
  const options = await api('OPTIONS', '/api/config')
  t.match(options, { status: 204, headers: { allow: 'GET, PUT, POST, PATCH, HEAD, OPTIONS' } })
  t.notOk(options.headers['access-control-allow-origin'])
  t.equal((await api('DELETE', '/api/config')).status, 405)
  t.match((await api('GET', '/api/config')).body, { from: 'file' })
  t.notMatch(program.log(), new RegExp(api.token))
})

t.test('what the API may not say is refused with its reason', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, `${PORTS}headers: { api.test: { set: { A: one } } }\n`)
  const api = apiOf(program, dir)
  for (const [option, value] of [
    ['proxy.port', { proxy: { port: 8080 } }],
    ['proxy.port', { proxy: { port: null } }],
    ['proxy.api_port', { proxy: { api_port: 8081 } }],
    ['proxy.host', { proxy: { host: '0.0.0.0' } }],
    ['tls.cert_dir', { tls: { cert_dir: '/tmp/x' } }],
    ['cache.dir', { cache: { dir: '/etc' } }],
    ['logging.file', { logging: { file: '/etc/passwd' } }],
  ] as const) {
    const answer = await patch(api, value)
    t.match(answer, { status: 422, body: { problems: [{ option, message: /restart the proxy/ }] } }, option)
  }
  const { body } = await api('GET', '/api/config')
  t.match(
    await api('PUT', '/api/config', JSON.stringify(body['config']), { 'Content-Type': JSON_TYPE }),
    { status: 422, body: { problems: [{ option: 'headers.api.test.set.A', message: /what GET shows/ }] } },
    'the mask does not become the secret',
  )
  const put = (text: string): Promise<Answer> =>
    api('PUT', '/api/config', text, { 'Content-Type': JSON_TYPE })
  for (const text of ['null', '[]', '"x"', '3']) t.equal((await put(text)).status, 422, text)
  t.equal((await api('PUT', '/api/config', '', { 'Content-Type': YAML })).status, 422, 'empty')
  t.match(await put('{"headers": "secr'), { status: 400, text: /not valid JSON/ })
  t.notMatch((await put('{"headers": "secr')).text, /secr/)
  t.equal((await put('{"__proto__": {"x": 1}}')).status, 422)
  t.equal((await put(`{"a": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`)).status, 422, 'nested')
  t.match(await patch(api, { tls: { upstream_ca: ['/nowhere.pem'] } }), {
    status: 422,
    body: { problems: [{ option: 'tls.upstream_ca', message: /ENOENT/ }] },
  })
  t.equal((await patch(api, {}, '?persits=true')).status, 400)
  t.equal((await patch(api, {}, '?persist=yes')).status, 400)
  t.equal((await put(`{"a": "${'x'.repeat(1024 * 1024)}"}`)).status, 413)
  const chunked = `PUT /api/config HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${YAML}\r\nAuthorization: Bearer ${api.token}\r\nTransfer-Encoding: chunked\r\n\r\n`
  const flood = await openRaw(t, program.apiPort, chunked)
  for (let sent = 0; sent < 5; sent += 1) flood.socket.write(`40000\r\n${'#'.repeat(0x40000)}\r\n`)
  t.match((await flood.closed()).text, /^HTTP\/1\.1 413 /)
  const left = await openRaw(t, program.apiPort, `${chunked}10\r\nblock`)
  left.socket.destroy()
  t.equal((await api('GET', '/health')).status, 200)
  t.notMatch(program.log(), /ERROR/)
})

const COMMENTED = `# Ports of this machine
proxy: { port: 0, api_port: 0 }

# Who may not be reached
blocklist:
  domains:
    - one.test # because
    # the second one
    - two.test
  ips: [] # none so far
headers:
  # the team's registry
  Registry.Test:
    set:
      Authorization: '${SECRET}' # rotate in May
logging: { level: info } # quiet
`

t.test(
  'a change that persists is written to the file, which keeps comments, order, mode and owner',
  async (t) => {
    const dir = folder(t)
    const program = await start(t, dir, COMMENTED)
    const api = apiOf(program, dir)
    const file = join(dir, 'config.yaml')
    chmodSync(file, 0o640)
    const asRoot = process.geteuid?.() === 0
    if (asRoot) chownSync(file, 4242, 4243)
    const answer = await patch(
      api,
      {
        blocklist: { domains: ['two.test', 'three.test'] },
        cache: { max_size: '1GB' },
        headers: { 'registry.test': { append: { 'X-From': 'here' } } },
        logging: null,
      },
      '?persist=true',
    )
    t.match(answer, { status: 200, body: { persisted: true, lasts: 'until it is changed again' } })
    t.equal(
      readFileSync(file, 'utf8'),
      `# Ports of this machine
proxy: { port: 0, api_port: 0 }

# Who may not be reached
blocklist:
  domains:
    # the second one
    - two.test
    - three.test
  ips: [] # none so far
headers:
  # the team's registry
  Registry.Test:
    set:
      Authorization: '${SECRET}' # rotate in May
    append:
      X-From: here
cache:
  max_size: 1GB
`,
    )
    const { mode, uid, gid } = statSync(file)
    t.equal(mode & 0o7777, 0o640)
    if (asRoot) t.strictSame([uid, gid], [4242, 4243])
    t.match((await api('GET', '/api/config')).body, {
      from: 'file',
      config: { cache: { max_size: 1024 ** 3 }, blocklist: { domains: ['two.test', 'three.test'] } },
      sources: { 'cache.max_size': { from: 'file', line: 19 } },
    })
    t.match(
      await api('PUT', '/api/config?persist=true', 'blocklist: { domains: [four.test] }', {
        'Content-Type': YAML,
      }),
      { status: 200 },
    )
    t.match(
      readFileSync(file, 'utf8'),
      /^# Ports.*\nproxy: .*\n\n# Who.*\nblocklist:\n {2}domains:\n {4}# the second one\n {4}- four\.test\n$/,
    )
    await new Promise((resolve) => setTimeout(resolve, 700))
    t.notMatch(program.log(), /configuration reloaded/, 'its own write is not taken for news')
    t.notMatch(program.log(), /0123456789abcdef/)
    t.notMatch(readdirSync(dir).join(), /\.tmp/)
  },
)

t.test('a change that cannot be written is not made either', async (t) => {
  const dir = folder(t)
  const file = join(dir, 'config.yaml')
  const aliased = `${PORTS}blocklist: { domains: &list [one.test] }\ntls: { passthrough: *list }\n`
  const program = await start(t, dir, aliased)
  const api = apiOf(program, dir)
  const block = (domain: string): Promise<Answer> =>
    patch(api, { blocklist: { domains: [domain] } }, '?persist=true')
  t.match(await patch(api, { blocklist: null }, '?persist=true'), {
    status: 409,
    body: { code: 'CONFIG_NOT_PERSISTED', error: /anchors and aliases/ },
  })
  t.equal(readFileSync(file, 'utf8'), aliased)

  writeFileSync(file, `${PORTS}nonsense: 1\n`)
  t.match(await block('x.test'), { status: 409, body: { error: /changed a moment ago/ } })
  await program.logged(/cannot reload/)
  t.match(await block('x.test'), { status: 409, body: { error: /has problems; mend them first/ } })
  t.equal((await patch(api, { cache: { max_size: '1GB' } })).status, 200, 'in force it can be changed')
  t.match((await api('GET', '/health')).body, { config: { state: 'rejected' } }, 'the file is wrong still')
  t.match((await api('GET', '/api/config')).body, { config: { blocklist: { domains: ['one.test'] } } })
})

t.test('a proxy without a file takes changes, until it ends', async (t) => {
  const merged = loadDefaultConfig()
  const live = new LiveConfig({
    initial: { text: '', merged },
    prepare: () => Promise.resolve({ commit: () => Promise.resolve(), discard: () => undefined }),
    logger: silentLogger,
    now: Date.now,
  })
  t.teardown(() => live.close())
  const body = { format: 'json', value: { cache: { max_size: '1GB' } } } as const
  const change = { kind: 'merge', body, matches: () => true } as const
  await t.rejects(live.change({ ...change, persist: true }), {
    code: 'CONFIG_NOT_PERSISTED',
    message: /started without -config/,
  })
  t.equal(live.state.config, merged.config)
  t.match(await live.change({ ...change, persist: false }), {
    from: 'api',
    config: { cache: { max_size: 1024 ** 3 } },
  })
})

t.test('the file may be a link, and may be one nobody is to write', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, PORTS)
  const api = apiOf(program, dir)
  const file = join(dir, 'config.yaml')
  linkSync(file, join(dir, 'real.yaml'))
  symlinkSync('real.yaml', join(dir, 'link'))
  spawnSync('mv', ['-T', join(dir, 'link'), file])
  t.equal((await patch(api, { blocklist: { domains: ['x.test'] } }, '?persist=true')).status, 200)
  t.match(readFileSync(join(dir, 'real.yaml'), 'utf8'), /x\.test/)
  t.ok(spawnSync('test', ['-L', file]).status === 0, 'it is still a link')
  if (process.geteuid?.() !== 0) {
    chmodSync(join(dir, 'real.yaml'), 0o444)
    t.match(await patch(api, { blocklist: null }, '?persist=true'), {
      status: 409,
      body: { error: /may not be written/ },
    })
  } else if (spawnSync('chattr', ['+i', join(dir, 'real.yaml')]).status === 0) {
    const answer = await patch(api, { blocklist: null }, '?persist=true')
    spawnSync('chattr', ['-i', join(dir, 'real.yaml')])
    t.equal(answer.status, 409)
    t.match((await api('GET', '/api/config')).body, { config: { blocklist: { domains: ['x.test'] } } })
  } else {
    t.comment('root may write everything here, so a file nobody is to write cannot be shown')
  }
})

t.test('a token that others could know is made anew; one that is good stays', async (t) => {
  const dir = folder(t)
  const stop = async (program: Program): Promise<void> => {
    program.process.kill('SIGTERM')
    await program.ended()
  }
  const first = await start(t, dir, PORTS)
  const { token } = apiOf(first, dir)
  await stop(first)
  const second = await start(t, dir, PORTS)
  t.equal(apiOf(second, dir).token, token)
  await stop(second)
  chmodSync(join(dir, 'proxy', 'api-token'), 0o644)
  const third = await start(t, dir, PORTS)
  t.not(apiOf(third, dir).token, token)
  t.equal(statSync(join(dir, 'proxy', 'api-token')).mode & 0o7777, 0o600)
  t.match(third.log(), /made a new API token .*others could read/)
  await stop(third)
  writeFileSync(join(dir, 'proxy', 'api-token'), '', { mode: 0o600 })
  const fourth = await start(t, dir, PORTS)
  const api = apiOf(fourth, dir)
  t.match(api.token, /^[\w-]{43}$/)
  t.equal((await patch(api, {})).status, 200)
})
