import { connect } from 'node:net'
import { request } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { keepLines, type Line } from '../../../test/lab/kept-lines.js'
import { startAgentApi, type AgentApi } from '../server.js'
import type { Route } from '../../../base/http/route.js'
import { startControlServer } from '../../control/server.js'
import { LogStore } from '../../logs/log-store.js'
import { ask, startApi } from '../../../test/lab/api-process.js'
import { shortFolder, waitFor } from '../../../test/lab/service-lab.js'

// No packet ends the agent API or process 1's control socket, before a token is looked at or after; a fault of ours is
// in the log, and ends the connection it was met on.

/** All that is answered to raw bytes until the connection ends, whoever ends it. */
function say(where: { port: number; host: string } | { path: string }, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ ...where, allowHalfOpen: true }, () => socket.end(text))
    let said = ''
    socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
    socket.on('error', () => undefined)
    socket.once('end', () => socket.destroy())
    socket.once('close', () => resolve(said))
  })
}

const statuses = (said: string): number[] =>
  [...said.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status))

const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'

/** What comes first, and its answers where they are complete before the rest of the packet is read. */
const FIRSTS: readonly (readonly [what: string, text: string, answers: readonly number[] | undefined])[] = [
  ['no Host', 'GET /health HTTP/1.1\r\n\r\n', [400]],
  ['an expectation', 'GET /health HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n', [417]],
  ['no token', 'GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n', [401]],
  ['a foreign Host', 'GET /health HTTP/1.1\r\nHost: x.test\r\n\r\n', [421]],
  ['a star', 'OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n', [401]],
  [
    'a request under way',
    'GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer TOKEN\r\n\r\n',
    undefined,
  ],
  ['a head that is none', 'GET / HTTP/1.1\r\nX\r\n\r\n', undefined],
]
const THENS: readonly (readonly [what: string, text: string])[] = [
  ['Upgrade', `GET /api/terminal HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n`],
  ['Upgrade of a route without', `GET /health HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n`],
  ['Upgrade without Host', `GET /api/terminal HTTP/1.1\r\n${upgrade}\r\n`],
  [
    'Upgrade to h2c',
    'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
  ],
  ['CONNECT', 'CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['garbage', '\0\x01\r\n\r\n'],
]

t.test('an Upgrade behind what the connection still owes, in one packet', async (t) => {
  const token = 'a-token-of-more-than-16'
  const api = await startApi(t, {
    DISCOBOT_API_TOKEN: token,
    DISCOBOT_WORKSPACE_PATH: t.testdir(),
    DISCOBOT_AGENT_SOCKET: '/nonexistent',
  })
  let output = ''
  api.child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  for (const [first, begin, before] of FIRSTS) {
    for (const [then, end] of THENS) {
      const said = await say({ port: api.port, host: '127.0.0.1' }, begin.replace('TOKEN', token) + end)
      // A refusal that goes out before its request is read to the end is the last answer.
      if (before !== undefined && then.startsWith('Upgrade'))
        t.strictSame(statuses(said), before, `${first}, then ${then}`)
      t.equal(api.child.exitCode, null, `${first}, then ${then}: it lives`)
    }
  }
  t.equal((await ask(api.port, '/health')).status, 200)
  t.notMatch(output, /a fault of ours/)
})

const fails = (): never => {
  throw new TypeError('planted')
}

const ROUTES: readonly Route[] = [
  { method: 'GET', path: '/throws', access: 'read', summary: '', answers: {}, handle: async () => fails() },
  {
    method: 'GET',
    path: '/upgrade',
    access: 'read',
    summary: '',
    answers: {},
    handle: async () => fails(),
    upgrade: async () => fails(),
  },
  {
    method: 'GET',
    path: '/fine',
    access: 'read',
    summary: '',
    answers: {},
    handle: async ({ response }) => void response.end('fine'),
  },
]

async function stage(
  t: Test,
): Promise<{ api: AgentApi; kept: ReturnType<typeof keepLines>; arm: () => void }> {
  let armed = false
  const kept = keepLines((line: Line) => {
    if (line.message !== 'request failed' || !armed) return
    armed = false
    throw new TypeError('planted in the log')
  })
  const api = await startAgentApi({
    host: '127.0.0.1',
    port: 0,
    routes: ROUTES,
    clientTimeoutMs: 10_000,
    logger: kept.logger,
  })
  t.teardown(() => api.close(0))
  return { api, kept, arm: () => (armed = true) }
}

t.test('a route that throws is answered with 500, and told', async (t) => {
  const { api, kept } = await stage(t)
  for (const [path, headers] of [
    ['/throws', {}],
    ['/upgrade', { connection: 'upgrade', upgrade: 'websocket' }],
    ['/upgrade', { connection: 'upgrade', upgrade: 'other' }],
  ] as const) {
    t.equal((await ask(api.port, path, { headers })).status, 500, path)
    t.match(kept.lines.at(-1), { message: 'request failed', fields: { path, reason: 'planted' } })
  }
  t.equal((await ask(api.port, '/fine')).body, 'fine')
})

t.test('what throws beyond that ends its connection, and is told', async (t) => {
  const { api, kept, arm } = await stage(t)
  for (const [entry, path, headers] of [
    ['agent API', '/throws', {}],
    ['agent API: upgrade', '/upgrade', { connection: 'upgrade', upgrade: 'websocket' }],
  ] as const) {
    arm()
    await t.rejects(ask(api.port, path, { headers }))
    t.match(kept.faults().at(-1), {
      fields: { entry, client: /^127\.0\.0\.1 \d+$/, reason: 'planted in the log' },
    })
    t.equal((await ask(api.port, '/fine')).body, 'fine')
  }
  t.equal(kept.faults().length, 2)
})

t.test('the control socket: the same', async (t) => {
  const path = join(shortFolder(t), 'agent.sock')
  let armed = true
  const kept = keepLines((line) => {
    if (line.message !== 'a request on the control socket failed' || !armed) return
    armed = false
    throw new TypeError('planted in the log')
  })
  const server = await startControlServer({
    socketPath: path,
    logger: kept.logger,
    ownUid: process.getuid?.() ?? -1,
    actions: {
      logs: new LogStore({ maxBytesPerService: 1_000 }),
      status: fails,
      change: () => Promise.reject(new Error('no services')),
      signal: () => false,
      reload: () => Promise.resolve(),
      guards: () => false,
    },
  })
  t.teardown(() => server.close())
  const asked = (): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const asking = request({ socketPath: path, path: '/status' }, (answer) =>
        resolve(answer.resume().statusCode),
      )
      asking.on('error', reject).end()
    })
  await t.rejects(asked())
  t.match(kept.faults(), [{ fields: { entry: 'control socket', reason: 'planted in the log' } }])
  t.equal(await asked(), 500)
  for (const [first, begin] of FIRSTS) {
    for (const [then, end] of THENS) {
      await say({ path }, begin + end)
      t.equal(await asked(), 500, `${first}, then ${then}: it answers`)
    }
  }
  t.equal(kept.faults().length, 1)
})

t.test('the program outlives what no entry has caught', async (t) => {
  const planted = `process.on('SIGUSR2', () => { Promise.reject(new Error('rejected')); throw new Error('thrown') })`
  const api = await startApi(t, {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(planted)}`,
  })
  let output = ''
  api.child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  api.child.kill('SIGUSR2')
  await waitFor('both faults', () => /reason=thrown/.test(output) && /reason=rejected/.test(output))
  t.equal((await ask(api.port, '/health')).status, 200)
  api.child.kill('SIGTERM')
  t.equal(await api.exited, 0)
})
