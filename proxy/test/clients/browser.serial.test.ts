import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import t from 'tap'
import { WebSocketServer } from 'ws'
import { startHttpsOrigin } from '../../../test/lab/harness.js'
import { startClientLab, startModernOrigin } from './client-lab.js'

// Chromium, trusting our CA as a user's browser would, loads a page and speaks WebSocket from it.

/** Only what the test asks for is asked for. */
const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const page = (socketPort: number): string => `<!DOCTYPE html><title>page</title><script type="module">
  const image = await (await fetch('/data')).arrayBuffer()
  const socket = new WebSocket('wss://web.test:${socketPort}/chat', ['chat'])
  socket.binaryType = 'arraybuffer'
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject })
  socket.send(image)
  const echo = await new Promise((resolve) => { socket.onmessage = ({ data }) => resolve(data) })
  const answer = await fetch('/back', { method: 'POST', body: echo })
  document.title = \`\${socket.protocol} \${await answer.text()}\`
</script>`

t.test('Chromium loads a page over HTTP/2 and speaks WebSocket, both inside our TLS', async (t) => {
  const lab = await startClientLab(t)
  const content = randomBytes(1024 * 1024)
  const sockets = await startHttpsOrigin(
    t,
    lab.proxy.originAuthority,
    'web.test',
    (_request, response) => void response.writeHead(426).end(),
  )
  const chat = new WebSocketServer({ server: sockets.server, handleProtocols: () => 'chat' })
  t.teardown(() => void chat.close())
  chat.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
  const { port } = await startModernOrigin(t, lab.proxy, 'web.test', (request, response) => {
    if (request.url === '/data') response.end(content)
    else if (request.url === '/back') {
      const pieces: Buffer[] = []
      request.on('data', (piece: Buffer) => pieces.push(piece))
      request.on('end', () => response.end(Buffer.concat(pieces).equals(content) ? 'the same' : 'another'))
    } else if (request.url === '/') {
      response.setHeader('Content-Type', 'text/html')
      response.end(page(sockets.port))
    } else response.writeHead(404).end()
  })
  // https://chromium.googlesource.com/chromium/src/+/main/docs/linux/cert_management.md
  const database = join(lab.folder, '.pki/nssdb')
  mkdirSync(database, { recursive: true })
  const certutil = (...args: string[]): Promise<Buffer> =>
    lab.run('certutil', ['-d', `sql:${database}`, ...args])
  await certutil('-N', '--empty-password')
  await certutil('-A', '-t', 'C,,', '-n', 'discobot', '-i', lab.proxy.caPath)

  const browser = await chromium.launchPersistentContext(join(lab.folder, 'profile'), {
    executablePath: '/usr/bin/chromium',
    args: QUIET,
    env: { ...lab.env },
    proxy: { server: lab.address },
  })
  t.teardown(() => browser.close())
  const tab = await browser.newPage()
  const problems: string[] = []
  tab.on('pageerror', (error) => problems.push(error.message))
  const loaded = await tab.goto(`https://web.test:${port}/`)
  t.equal(loaded?.status(), 200)
  t.match(await loaded?.securityDetails(), { issuer: 'Discobot Proxy CA', subjectName: 'web.test' })
  await tab.waitForFunction('document.title !== "page"', undefined, { timeout: 30_000 })
  t.strictSame(problems, [])
  t.equal(await tab.title(), 'chat the same')
  t.equal(await tab.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'h2')
  t.equal(lab.requests(new RegExp(`web\\.test:${port}/(data|back)? 200`)).length, 3)
  await browser.close()
  await lab.logged(new RegExp(`GET web\\.test:${sockets.port}/chat 101`))
})
