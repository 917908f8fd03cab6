import { request as httpRequest } from 'node:http'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { startHttpOrigin } from '../../../test/lab/harness.js'
import { folder, start, type Program } from '../../../test/lab/program.js'

// What the API does with the powers of the proxy it does for those whom the proxy would serve.

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))
const PASSWORD = 'correct-horse-7Q'
const BASIC = `Basic ${Buffer.from(`agents:${PASSWORD}`).toString('base64')}`

interface Lab {
  readonly program: Program
  readonly dir: string
  readonly url: string
  readonly fetched: () => number
}

async function lab(t: Test, loopback: 'required' | 'exempt' | 'nobody'): Promise<Lab> {
  let count = 0
  const { port } = await startHttpOrigin(t, (_request, response) => {
    count += 1
    response.end('fetched')
  })
  const dir = folder(t)
  const auth = loopback === 'nobody' ? {} : { user: 'agents', password: PASSWORD, loopback }
  const program = await start(t, dir, { proxy: { port: 0, api_port: 0, auth } })
  return { program, dir, url: `http://127.0.0.1:${port}/pool/a_1.deb`, fetched: () => count }
}

function ask(
  { program }: Lab,
  method: string,
  path: string,
  { headers = {}, body }: { headers?: Record<string, string>; body?: object } = {},
): Promise<{ status: number; challenge: string | undefined }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port: program.apiPort,
        method,
        path,
        headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      },
      (answer) => {
        answer
          .resume()
          .once('end', () =>
            resolve({ status: answer.statusCode ?? 0, challenge: answer.headers['www-authenticate'] }),
          )
      },
    )
    request.once('error', reject)
    request.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** Each makes the proxy fetch, or throw away what it has fetched. */
const DOORS: readonly (readonly [method: string, path: string])[] = [
  ['POST', '/api/cache/prewarm'],
  ['DELETE', '/api/cache/prewarm?id=none'],
  ['DELETE', '/api/cache'],
  ['DELETE', '/api/cache/entries?rule=debian'],
  ['POST', '/api/cache/verify'],
]

t.test('where the proxy wants a password, so does each door to what it can do', async (t) => {
  const one = await lab(t, 'required')
  const body = { references: [one.url] }
  for (const [method, path] of DOORS) {
    for (const headers of [{}, { Authorization: 'Basic eDp5' }, { Authorization: 'Bearer x' }]) {
      const told = await ask(one, method, path, { headers, ...(method === 'POST' ? { body } : {}) })
      t.equal(told.status, 401, `${method} ${path}`)
      t.match(told.challenge, /^Basic .*, Bearer /)
    }
  }
  t.equal(one.fetched(), 0, 'nothing was fetched')
  const token = readFileSync(join(one.dir, 'proxy', 'api-token'), 'utf8').trim()
  const all = [
    { Authorization: BASIC },
    { 'Proxy-Authorization': BASIC },
    { Authorization: `Bearer ${token}` },
  ]
  for (const headers of all) {
    t.equal((await ask(one, 'POST', '/api/cache/prewarm', { headers, body })).status, 202)
    t.equal((await ask(one, 'DELETE', '/api/cache', { headers })).status, 200)
  }
  for (const [method, path] of [
    ['GET', '/api/cache/export'],
    ['POST', '/api/cache/import'],
    ['PATCH', '/api/config'],
  ] as const)
    t.equal(
      (await ask(one, method, path, { headers: { Authorization: BASIC } })).status,
      401,
      'the token alone',
    )
})

t.test('where it asks nobody here, no door does', async (t) => {
  for (const loopback of ['exempt', 'nobody'] as const) {
    const one = await lab(t, loopback)
    t.equal((await ask(one, 'POST', '/api/cache/prewarm', { body: { references: [one.url] } })).status, 202)
    t.equal((await ask(one, 'DELETE', '/api/cache')).status, 200)
  }
})

t.test('the command shows what it has: the token, or what HTTP_PROXY holds', async (t) => {
  const one = await lab(t, 'required')
  const prewarm = (env: Record<string, string>) =>
    execa(process.execPath, [MAIN, 'prewarm', '--api-port', String(one.program.apiPort), one.url], {
      reject: false,
      extendEnv: false,
      env: { PATH: process.env['PATH'] ?? '', ...env },
    })
  const nowhere = { DISCOBOT_DATA_DIR: '/nonexistent' }
  t.match(await prewarm(nowhere), { exitCode: 1, stderr: /name and password of proxy\.auth/ })
  const named = `http://agents:${PASSWORD}@127.0.0.1:${one.program.port}`
  t.match(await prewarm({ ...nowhere, HTTP_PROXY: named }), { exitCode: 0 })
  t.match(await prewarm({ DISCOBOT_DATA_DIR: one.dir }), { exitCode: 0 })
  t.equal(one.fetched(), 1)
})

t.test('a page in a browser is refused at every door, whatever it can make the browser send', async (t) => {
  const one = await lab(t, 'nobody')
  const body = { references: [one.url] }
  const pages: readonly Record<string, string>[] = [
    { Host: `rebound.test:${one.program.apiPort}` },
    { Origin: 'https://evil.test' },
    { Origin: 'null' },
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
  ]
  for (const headers of pages) {
    for (const [method, path] of [...DOORS, ['GET', '/api/config'] as const]) {
      const told = await ask(one, method, path, { headers, ...(method === 'POST' ? { body } : {}) })
      t.equal(told.status, 403, `${method} ${path} with ${JSON.stringify(headers)}`)
    }
  }
  const form = { 'Content-Type': 'text/plain' }
  t.equal((await ask(one, 'POST', '/api/cache/prewarm', { headers: form, body })).status, 415)
  t.equal(one.fetched(), 0)
  t.equal((await ask(one, 'GET', '/health', { headers: { 'Sec-Fetch-Site': 'none' } })).status, 200)
})
