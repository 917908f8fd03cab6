import { spawn } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { API_MAIN, ask, GIT_ENV, jsonAsking, startApi } from '../../../test/lab/api-process.js'
import { waitFor } from '../../../test/lab/service-lab.js'

const TOKEN = 'a-token-of-more-than-16'

/** Every route, asked for as it should be. */
const ASKED = [
  ['GET', '/health'],
  ['GET', '/openapi.json'],
  ['GET', '/api/status'],
  ['POST', '/api/exec'],
] as const

/** What the server says to raw bytes, until it closes the connection. */
function say(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    let said = ''
    socket.on('data', (chunk: Buffer) => (said += chunk.toString()))
    socket.once('error', reject)
    socket.once('close', () => resolve(said))
  })
}

t.test('where a token is set everything takes it, but for the question whether we live', async (t) => {
  const api = await startApi(t, { DISCOBOT_API_TOKEN: TOKEN, DISCOBOT_WORKSPACE_PATH: t.testdir() })
  t.equal((await ask(api.port, '/health')).status, 200)
  t.equal((await ask(api.port, '/health', { method: 'POST' })).status, 405)
  for (const [method, path] of [...ASKED.slice(1), ['GET', '/nothing'], ['GET', '/health?x=1']] as const) {
    for (const headers of [
      {},
      { authorization: 'Bearer wrong-token-of-more-than-16' },
      { authorization: `Basic ${TOKEN}` },
      { authorization: `Bearer ${TOKEN}x` },
      { 'sec-websocket-protocol': `discobot.token.${Buffer.from('x').toString('base64url')}` },
    ]) {
      const answer = await ask(api.port, path, { method, headers })
      t.equal(answer.status, 401, `${method} ${path} ${JSON.stringify(headers)}`)
      t.match(answer.headers, { 'www-authenticate': /^Bearer/, 'content-type': 'application/problem+json' })
      t.notMatch(answer.body, TOKEN)
    }
  }
  const headers = { authorization: `bearer ${TOKEN}` }
  t.equal((await ask(api.port, '/openapi.json', { headers })).status, 200)
  t.equal((await ask(api.port, '/nothing', { headers })).status, 404)
})

t.test('a digest in place of the token; a token that is none lets nobody in', async (t) => {
  const digest = 'f9eb9489996c1eb1c87c2d13d24febfb23def5a94ec3f2df9a294717f0033c8f'
  const api = await startApi(t, { DISCOBOT_API_TOKEN_SHA256: digest })
  t.equal((await ask(api.port, '/openapi.json')).status, 401)
  const headers = { authorization: `Bearer ${TOKEN}` }
  t.equal((await ask(api.port, '/openapi.json', { headers })).status, 200)

  const closed = await startApi(t, { DISCOBOT_API_TOKEN: 'short' })
  const short = { authorization: 'Bearer short' }
  t.equal((await ask(closed.port, '/openapi.json', { headers: short })).status, 401)
})

t.test('beyond loopback it takes a token', async (t) => {
  const env = { ...GIT_ENV, DISCOBOT_AGENT_PORT: '0', DISCOBOT_AGENT_HOST: '0.0.0.0' }
  const child = spawn(process.execPath, [API_MAIN], { env })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  t.equal(await new Promise((resolve) => child.once('close', resolve)), 1)
  t.match(output, /cannot listen on 0\.0\.0\.0:0: beyond loopback it takes a token; set DISCOBOT_API_TOKEN/)

  const api = await startApi(t, { DISCOBOT_AGENT_HOST: '0.0.0.0', DISCOBOT_API_TOKEN: TOKEN })
  t.equal((await ask(api.port, '/api/status')).status, 401)
  const headers = { authorization: `Bearer ${TOKEN}` }
  t.equal((await ask(api.port, '/api/status', { headers })).status, 200)
})

t.test('every route refuses what a foreign page makes a browser send', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  for (const [method, path] of ASKED) {
    for (const [headers, status] of [
      [{ host: 'rebound.example' }, 421],
      [{ origin: 'http://evil.example' }, 403],
      [{ origin: 'http://localhost:5173' }, 403],
      [{ origin: 'null' }, 403],
      [{ 'sec-fetch-site': 'cross-site' }, 403],
      [{ 'sec-fetch-site': 'same-site' }, 403],
    ] as const) {
      const body = method === 'POST' ? jsonAsking({ argv: ['true'] }) : {}
      const answer = await ask(api.port, path, {
        ...body,
        method,
        headers: { ...('headers' in body ? body.headers : {}), ...headers },
      })
      t.equal(answer.status, status, `${method} ${path} ${JSON.stringify(headers)}`)
      t.equal(answer.headers['access-control-allow-origin'], undefined)
    }
  }
  for (const site of ['same-origin', 'none'])
    t.equal((await ask(api.port, '/health', { headers: { 'sec-fetch-site': site } })).status, 200)
  const preflight = { origin: 'http://evil.example', 'access-control-request-method': 'POST' }
  t.equal((await ask(api.port, '/api/exec', { method: 'OPTIONS', headers: preflight })).status, 403)
})

t.test('answers are nothing a browser keeps, guesses at or runs', async (t) => {
  const api = await startApi(t)
  for (const path of ['/health', '/nothing']) {
    t.match((await ask(api.port, path)).headers, {
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'content-security-policy': /sandbox/,
    })
  }
})

t.test('heads and bodies that never end are given up', async (t) => {
  const api = await startApi(t, { DISCOBOT_API_CLIENT_TIMEOUT: '1' })
  t.match(await say(api.port, 'GET /health HTTP/1.1\r\nHost: localhost\r\n'), /^HTTP\/1\.1 408 /)
  t.match(await say(api.port, ''), /^(HTTP\/1\.1 408 |$)/, 'nothing at all')
  const head = 'POST /api/exec HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
  t.match(await say(api.port, `${head}Content-Length: 100\r\n\r\n{`), /^HTTP\/1\.1 408 .*did not arrive/s)
})

t.test('so many connections at once; those beyond are closed, and those there are served', async (t) => {
  const api = await startApi(t)
  const sockets = Array.from({ length: 300 }, () => connect(api.port, '127.0.0.1'))
  t.teardown(() => sockets.forEach((socket) => void socket.destroy()))
  const closed: Socket[] = []
  for (const socket of sockets) {
    // Without a reader the end would not show.
    socket.resume().on('error', () => {})
    socket.once('close', () => closed.push(socket))
  }
  await waitFor('the end of those beyond', () => closed.length === 44)
  const kept = sockets.find((socket) => !closed.includes(socket))
  const answer = new Promise<string>((resolve) =>
    kept?.once('data', (data: Buffer) => resolve(data.toString())),
  )
  kept?.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n')
  t.match(await answer, /^HTTP\/1\.1 200 /)
})

t.test('a request for another protocol is answered in this one, or refused', async (t) => {
  const api = await startApi(t)
  const upgrade = 'Host: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n'
  t.match(await say(api.port, `GET /health HTTP/1.1\r\n${upgrade}\r\n`), /^HTTP\/1\.1 200 .*"status":"ok"/s)
  t.match(await say(api.port, `GET /nothing HTTP/1.1\r\n${upgrade}\r\n`), /^HTTP\/1\.1 404 /)
  const foreign = `${upgrade}Origin: http://evil.example\r\n`
  t.match(await say(api.port, `GET /health HTTP/1.1\r\n${foreign}\r\n`), /^HTTP\/1\.1 403 /)
})

t.test('a setting that cannot be used is said, and its default taken', async (t) => {
  const env = { ...GIT_ENV, DISCOBOT_AGENT_PORT: '0', DISCOBOT_API_MAX_COMMANDS: 'many' }
  const child = spawn(process.execPath, [API_MAIN], { env })
  t.teardown(() => void child.kill('SIGKILL'))
  let output = ''
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('agent API ready')) resolve()
    })
  })
  t.match(output, /DISCOBOT_API_MAX_COMMANDS "many": want a whole number from 1 to 1000; 16 is used/)
})
