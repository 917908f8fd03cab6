import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { briefly } from '../status/brief-memory.js'
import { gitState } from '../git/git-state.js'
import { refusedRequest } from '../../../base/http/request-guard.js'
import {
  API_MAIN,
  ask,
  git,
  GIT_ENV,
  repository,
  startApi,
  type Scope,
} from '../../../test/lab/api-process.js'

/** Port of a neighbour → when somebody has connected to it. */
const connections = new Map<number, Promise<void>>()

t.test('GET /health answers as soon as the process says it is ready', async (t) => {
  const api = await startApi(t)
  const answer = await ask(api.port, '/health')
  t.equal(answer.status, 200)
  t.match(answer.headers['content-type'], /^application\/json/)
  t.same(JSON.parse(answer.body), { status: 'ok' })
  const head = await ask(api.port, '/health', { method: 'HEAD' })
  t.match(head, { status: 200, body: '' })
})

t.test('GET /api/status shows boot, services, proxy and workspace', async (t) => {
  const workspace = repository(t.testdir())
  const boot = [{ name: 'home', state: 'done', startedMs: 0, tookMs: 3 }]
  const services = [{ name: 'proxy', state: 'ready', pid: 12, since: '2026-11-21T00:00:00Z', restarts: 0 }]
  const socketPath = join(shortFolder(t), 'agent.sock')
  await serve(t, json({ phase: 'running', boot, services, degraded: [] }), socketPath)
  const proxy = await serve(t, (request, response) => {
    if (request.url === '/health') return json({ status: 'ok', ca_cert: '/x/ca.crt' })(request, response)
    return json({ hits: 3, misses: 1 })(request, response)
  })
  const api = await startApi(t, {
    DISCOBOT_AGENT_SOCKET: socketPath,
    DISCOBOT_PROXY_API_PORT: String(proxy),
    DISCOBOT_WORKSPACE_PATH: workspace,
  })
  const status = JSON.parse((await ask(api.port, '/api/status')).body) as object
  t.match(status, {
    status: 'ok',
    phase: 'running',
    boot,
    services,
    proxy: { state: 'ok', ca_cert: '/x/ca.crt', cache: { hits: 3, misses: 1 } },
    workspace: { path: workspace, state: 'git', branch: 'main', commit: /^[0-9a-f]{40}$/, dirty: false },
    degraded: [],
  })
})

t.test('a proxy that does not answer, or never finishes, degrades the status and nothing else', async (t) => {
  const silent = await serve(t, () => {})
  const socketPath = join(shortFolder(t), 'agent.sock')
  await serve(
    t,
    json({ phase: 'running', boot: [], services: [{ name: 'proxy' }], degraded: [] }),
    socketPath,
  )
  const api = await startApi(t, {
    DISCOBOT_AGENT_SOCKET: socketPath,
    DISCOBOT_PROXY_API_PORT: String(silent),
    DISCOBOT_WORKSPACE_PATH: repository(t.testdir()),
  })
  const answer = await ask(api.port, '/api/status')
  t.equal(answer.status, 200)
  t.match(JSON.parse(answer.body), {
    status: 'degraded',
    proxy: { state: 'degraded', reason: /no answer within 1000 ms/ },
    degraded: [/no answer within 1000 ms/],
  })
  t.match(JSON.parse((await ask(api.port, '/health')).body), { status: 'ok' })
})

t.test(
  'a container without proxy is not degraded by that; an agent that cannot be asked is said',
  async (t) => {
    const socketPath = join(shortFolder(t), 'agent.sock')
    const agent = await serve(t, json({ phase: 'running', boot: [], services: [], degraded: [] }), socketPath)
    const workspace = repository(t.testdir())
    const settings = { DISCOBOT_PROXY_API_PORT: '1', DISCOBOT_WORKSPACE_PATH: workspace }
    const api = await startApi(t, { ...settings, DISCOBOT_AGENT_SOCKET: socketPath })
    t.match(JSON.parse((await ask(api.port, '/api/status')).body), { status: 'ok', proxy: { state: 'off' } })
    t.equal(agent, 0)
    const orphan = await startApi(t, { ...settings, DISCOBOT_AGENT_SOCKET: `${socketPath}.gone` })
    t.match(JSON.parse((await ask(orphan.port, '/api/status')).body), {
      status: 'degraded',
      phase: 'unknown',
      boot: [],
      degraded: [
        /cannot ask .*agent\.sock\.gone for \/status: connect ENOENT/,
        /cannot ask http:\/\/127\.0\.0\.1:1/,
      ],
    })
  },
)

t.test('what is not there or not allowed is an RFC 9457 problem', async (t) => {
  const api = await startApi(t)
  for (const [method, path, status] of [
    ['GET', '/', 404],
    ['GET', '/api/status/', 404],
    ['GET', '/constructor', 404],
    ['POST', '/health', 405],
    ['constructor', '/health', 400],
    ['DELETE', '/api/status', 405],
  ] as const) {
    const answer = await ask(api.port, path, { method })
    t.equal(answer.status, status, `${method} ${path}`)
    // Node's parser answers for methods it does not know.
    if (status === 400) continue
    t.equal(answer.headers['content-type'], 'application/problem+json')
    t.match(JSON.parse(answer.body), { title: String, status, detail: String })
    if (status === 405) t.equal(answer.headers.allow, 'GET, HEAD')
  }
})

t.test('a page that rebound its name or comes from elsewhere gets nothing', async (t) => {
  const api = await startApi(t)
  for (const [headers, status] of [
    [{ host: 'localhost' }, 200],
    [{ host: `LOCALHOST:${api.port}` }, 200],
    [{ host: '127.0.0.1:3002' }, 200],
    [{ host: '[::1]:3002' }, 200],
    [{ host: 'evil.example' }, 421],
    [{ host: 'localhost.evil.example' }, 421],
    [{ host: '192.168.1.2' }, 421],
    [{ host: '127.0.0.1@evil.example' }, 400],
    [{ host: 'localhost', origin: 'http://localhost' }, 200],
    [{ host: 'localhost', origin: 'http://evil.example' }, 403],
    [{ host: 'localhost', origin: 'https://localhost' }, 403],
    [{ host: 'localhost', origin: 'null' }, 403],
  ] as const) {
    const answer = await ask(api.port, '/health', { headers })
    t.equal(answer.status, status, JSON.stringify(headers))
  }
  t.match(refusedRequest({ host: undefined, origin: undefined }, '127.0.0.1'), { status: 400 })
  t.equal(refusedRequest({ host: '192.168.1.2:3002', origin: undefined }, '192.168.1.2'), undefined)
  t.match(refusedRequest({ host: 'evil.example', origin: undefined }, '192.168.1.2'), { status: 421 })
})

t.test('SIGTERM ends it with 0, with an idle and with a stuck connection open', async (t) => {
  const stuck = await serve(t, () => {})
  const api = await startApi(t, { DISCOBOT_PROXY_API_PORT: String(stuck) })
  const idle = connect(api.port, '127.0.0.1')
  idle.on('error', () => {})
  await new Promise((resolve) => idle.once('connect', resolve))
  const underWay = ask(api.port, '/api/status')
  // The question to the neighbour shows that the request is being worked on.
  await connections.get(stuck)
  api.child.kill('SIGTERM')
  t.equal((await underWay).status, 200, 'the answer under way is finished')
  t.equal(await api.exited, 0)
})

t.test('a port in use is named, with exit code 1', async (t) => {
  const taken = await serve(t, () => {})
  const child = spawn(process.execPath, [API_MAIN], { env: { DISCOBOT_AGENT_PORT: String(taken) } })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  t.equal(await new Promise((resolve) => child.once('close', resolve)), 1)
  t.match(output, new RegExp(`cannot listen on 127.0.0.1:${taken}: the port is in use`))
})

t.test('the workspace: branch, commit, changes, and why it cannot be told', async (t) => {
  const root = t.testdir({ plain: {} })
  const path = repository(join(root, 'repository'))
  const state = (at = path, env = GIT_ENV, timeoutMs = 5_000) => gitState({ path: at, env, timeoutMs })
  t.match(await state(), { state: 'git', branch: 'main', dirty: false })

  writeFileSync(join(path, 'a file\nwith a line'), 'new')
  t.match(await state(), { branch: 'main', dirty: true })

  git(path, 'checkout', '--quiet', '--detach')
  t.match(await state(), { branch: null, commit: /^[0-9a-f]{40}$/ })

  mkdirSync(join(root, 'empty'))
  git(join(root, 'empty'), 'init', '--quiet', '--initial-branch=topic')
  t.match(await state(join(root, 'empty')), { state: 'git', branch: 'topic', commit: null, dirty: false })

  const ceiling = { ...GIT_ENV, GIT_CEILING_DIRECTORIES: root }
  t.match(await state(join(root, 'plain'), ceiling), { state: 'plain' })
  t.match(await state(join(root, 'gone')), { state: 'unknown', reason: /No such file/ })
  t.match(await state(path, { ...GIT_ENV, PATH: '/nonexistent' }), {
    state: 'unknown',
    reason: /cannot run git/,
  })

  const slow = join(root, 'bin')
  mkdirSync(slow)
  writeFileSync(join(slow, 'git'), '#!/bin/sh\nexec sleep 60\n')
  chmodSync(join(slow, 'git'), 0o755)
  const late = await state(path, { ...GIT_ENV, PATH: `${slow}:${GIT_ENV.PATH}` }, 200)
  t.match(late, { state: 'unknown', reason: 'git did not answer within 200 ms' })
})

t.test('no program that the repository names is run', async (t) => {
  const path = repository(t.testdir())
  git(path, 'config', 'core.fsmonitor', `touch ${path}/../owned; false`)
  t.match(await gitState({ path, env: GIT_ENV, timeoutMs: 5_000 }), { state: 'git', dirty: false })
  t.notOk(existsSync(join(path, '../owned')))
})

t.test('one run of git serves all who ask within the time, and a failure is not kept', async (t) => {
  let runs = 0
  let time = 0
  let failing = false
  const read = briefly(
    () => (failing ? Promise.reject(new Error('no')) : Promise.resolve((runs += 1))),
    1_000,
    () => time,
  )
  t.same(await Promise.all([read(), read(), read()]), [1, 1, 1])
  time = 999
  t.equal(await read(), 1)
  time = 1_000
  failing = true
  await t.rejects(read(), { message: 'no' })
  failing = false
  t.equal(await read(), 2)
})

/** The path of a Unix socket may have 107 bytes; those of tap's folders are longer. */
function shortFolder(t: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-api-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

/** A neighbour on a free port, or on a Unix socket (then 0). */
async function serve(t: Scope, listener: RequestListener, socketPath?: string): Promise<number> {
  const server: Server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(socketPath ?? { port: 0, host: '127.0.0.1' }, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  if (socketPath !== undefined) return 0
  const { port } = server.address() as AddressInfo
  connections.set(port, new Promise((resolve) => server.once('connection', () => resolve())))
  return port
}

function json(body: object): RequestListener {
  return (_, response) =>
    void response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
}
