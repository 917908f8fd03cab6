import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ask, repository, startApi } from '../../../test/lab/api-process.js'
import { folder, json, start } from '../../../test/lab/program.js'
import { hostilePage, type Targets } from './hostile-page.js'

// A page of somebody else's, in a real browser beside our APIs, does all that a page can do. It reads nothing, changes
// nothing and runs nothing, not even where its own name has come to lead to us.

/** Each name leads to this machine, as a name server of the page's owner would have it. */
const NAMES = ['evil.test', 'rebound.test']
/** Where the page's own server is, so that its port can be that of an API. */
const EVIL_ADDRESS = '127.0.0.2'
const LIMIT_MS = 60_000

interface Browser {
  readonly name: string
  /** The command that opens `url` with a new profile in `home`. */
  command(home: string, url: string): [string, ...string[]]
}

const BROWSERS: readonly Browser[] = [
  {
    name: 'Chromium',
    command: (home, url) => [
      '/usr/bin/chromium',
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // What the browser itself would keep from us is let through: what is left is ours to refuse.
      '--disable-features=BlockInsecurePrivateNetworkRequests,LocalNetworkAccessChecks,HttpsUpgrades',
      `--host-resolver-rules=${NAMES.map((name) => `MAP ${name} ${EVIL_ADDRESS}`).join(',')}`,
      `--user-data-dir=${join(home, 'profile')}`,
      url,
    ],
  },
  {
    name: 'Firefox',
    command: (home, url) => {
      const profile = join(home, 'profile')
      mkdirSync(profile)
      const settings: Readonly<Record<string, unknown>> = {
        'network.dns.forceResolve': EVIL_ADDRESS,
        'network.lna.blocking': false,
        'network.lna.enabled': false,
        'network.proxy.type': 0,
        'dom.security.https_first': false,
        'datareporting.policy.dataSubmissionEnabled': false,
        'app.update.enabled': false,
        'network.captive-portal-service.enabled': false,
        'network.connectivity-service.enabled': false,
        'browser.shell.checkDefaultBrowser': false,
        'browser.aboutwelcome.enabled': false,
      }
      const lines = Object.entries(settings).map(
        ([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});`,
      )
      writeFileSync(join(profile, 'user.js'), lines.join('\n'))
      return ['/usr/bin/firefox-esr', '--headless', '--no-remote', '--profile', profile, url]
    },
  },
]

/** Resolves with what the page reported. */
async function visit(t: Test, browser: Browser, page: EvilSite): Promise<readonly string[]> {
  const home = mkdtempSync(join(tmpdir(), 'discobot-browser-'))
  const [command, ...args] = browser.command(home, page.url)
  const child = spawn(command, args, {
    env: { HOME: home, PATH: process.env['PATH'], MOZ_CRASHREPORTER_DISABLE: '1' },
    stdio: 'ignore',
    detached: true,
  })
  const gone = new Promise((resolve) => child.once('close', resolve))
  const cut = new AbortController()
  const limit = setTimeout(() => cut.abort(), LIMIT_MS)
  try {
    return await Promise.race([
      page.reported,
      new Promise<never>((_resolve, reject) =>
        cut.signal.addEventListener('abort', () => reject(new Error(`${browser.name} reports nothing`))),
      ),
    ])
  } finally {
    clearTimeout(limit)
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    await gone
    rmSync(home, { recursive: true, force: true, maxRetries: 10 })
    t.comment(`${browser.name} has ended`)
  }
}

interface EvilSite {
  readonly url: string
  readonly reported: Promise<readonly string[]>
}

async function listen(t: Test, server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(port, EVIL_ADDRESS, resolve),
  )
  t.teardown(() => {
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/**
 * Serves the page once. With `rebound`, the port of an API, the page's own name and port lead to that API from then
 * on, as far as the browser can tell.
 */
async function evilSite(
  t: Test,
  name: string,
  targets: Omit<Targets, 'report'>,
  rebound?: number,
): Promise<EvilSite> {
  let tell: (got: readonly string[]) => void = () => undefined
  const reported = new Promise<readonly string[]>((resolve) => (tell = resolve))
  const reports = createServer((request, response) => {
    let text = ''
    request.on('data', (piece: Buffer) => (text += piece.toString()))
    request.on('end', () => {
      response.end()
      tell(JSON.parse(text) as string[])
    })
  })
  const report = `http://${EVIL_ADDRESS}:${await listen(t, reports)}/`
  const html = hostilePage({ ...targets, report })
  const answer = `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: ${html.length}\r\nConnection: close\r\n\r\n${html}`
  let served = false
  const pages = createTcpServer((socket) => {
    socket.on('error', () => socket.destroy())
    // Decided when something is asked: browsers open connections before they need them.
    socket.once('data', (asked: Buffer) => {
      if (!served || rebound === undefined) {
        served = true
        socket.end(answer)
        return
      }
      const api = connect({ host: '127.0.0.1', port: rebound })
      api.on('error', () => socket.destroy())
      api.write(asked)
      socket.pipe(api).pipe(socket)
    })
  })
  const port = await listen(t, pages, rebound)
  return { url: `http://${name}:${port}/`, reported }
}

for (const browser of BROWSERS) {
  t.test(
    `${browser.name}: the page gets in by each way where nobody refuses it`,
    { timeout: 2 * LIMIT_MS },
    async (t) => {
      const ways = new Set<string>()
      const open = createServer((request: IncomingMessage, response: ServerResponse) => {
        const { method = '', headers } = request
        ways.add(`${method} ${(headers['content-type'] ?? '').split(';')[0]}`)
        if (headers.accept === 'text/event-stream') ways.add('EventSource')
        const own = {
          'Access-Control-Allow-Origin': headers.origin ?? '*',
          'Access-Control-Allow-Credentials': 'true',
        }
        const allowed = {
          'Access-Control-Allow-Methods': 'PUT,DELETE,PATCH',
          'Access-Control-Allow-Headers': 'content-type',
        }
        request.resume()
        response.writeHead(200, { ...own, ...allowed }).end('open')
      })
      open.on('upgrade', (_request, socket) => {
        ways.add('WebSocket')
        socket.destroy()
      })
      const at = `http://${EVIL_ADDRESS}:${await listen(t, open)}`
      const got = await visit(
        t,
        browser,
        await evilSite(t, 'evil.test', { agent: at, proxy: at, secret: '-' }),
      )
      t.ok(
        got.some((one) => one.startsWith('cors ')),
        'it reads',
      )
      for (const way of [
        'POST text/plain',
        'POST multipart/form-data',
        'POST application/x-www-form-urlencoded',
        'POST application/json',
        'PUT text/plain',
        'DELETE ',
        'WebSocket',
        'EventSource',
      ])
        t.ok(ways.has(way), way)
    },
  )

  t.test(
    `${browser.name}: it reads nothing of our APIs and changes nothing`,
    { timeout: 10 * LIMIT_MS },
    async (t) => {
      const workspace = repository(join(folder(t), 'workspace'))
      const secret = 'only-for-readers'
      writeFileSync(join(workspace, 'secret'), secret)
      writeFileSync(join(workspace, 'secret.js'), 'globalThis.stolen = true')
      const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace })
      const program = await start(t, folder(t), {})
      const config = (): Promise<unknown> => json(`http://127.0.0.1:${program.apiPort}/api/config`)
      const before = [readdirSync(workspace), await config()]
      const agent = `http://127.0.0.1:${api.port}`
      const proxy = `http://127.0.0.1:${program.apiPort}`
      const rebound = (port: number): string => `http://rebound.test:${port}`
      const visits: readonly (readonly [string, EvilSite])[] = [
        ['by address', await evilSite(t, 'evil.test', { agent, proxy, secret })],
        [
          'by localhost',
          await evilSite(t, 'evil.test', {
            agent: `http://localhost:${api.port}`,
            proxy: `http://localhost:${program.apiPort}`,
            secret,
          }),
        ],
        [
          'as its own origin, the agent API',
          await evilSite(t, 'rebound.test', { agent: rebound(api.port), proxy, secret }, api.port),
        ],
        [
          'as its own origin, the proxy API',
          await evilSite(
            t,
            'rebound.test',
            { agent, proxy: rebound(program.apiPort), secret },
            program.apiPort,
          ),
        ],
      ]
      for (const [what, page] of visits) t.strictSame(await visit(t, browser, page), [], what)
      t.strictSame([readdirSync(workspace), await config()], before)
      t.ok(existsSync(join(workspace, 'secret')))
      t.equal((await ask(api.port, '/health')).status, 200)
    },
  )
}
