import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { ask, jsonAsking, open, startApi, type Scope } from '../../../test/lab/api-process.js'
import { shortFolder, waitFor } from '../../../test/lab/service-lab.js'

const AGENT_MAIN = resolve(dirname(fileURLToPath(import.meta.url)), '../../main.js')
/** The last line of a boot. */
const UP = /Discobot is up.*Try next.*\n\n/s
const TOKEN = 'a-token-of-more-than-16'
const AUTHORIZATION = { authorization: `Bearer ${TOKEN}` }

/** The agent with nothing but its API, which is started by it as in a container. */
async function startAgent(t: Scope, env: Record<string, string>): Promise<{ port: number; dataDir: string }> {
  const base = shortFolder(t)
  mkdirSync(join(base, 'home'))
  const port = await freePort()
  const child = spawn(process.execPath, [AGENT_MAIN, 'run'], {
    env: {
      PATH: process.env['PATH'],
      HOME: join(base, 'home'),
      DISCOBOT_DATA_DIR: join(base, 'data'),
      DISCOBOT_AGENT_PORT: String(port),
      DISCOBOT_PROXY: 'off',
      DISCOBOT_DOCKER: 'off',
      ...env,
    },
    cwd: base,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exited
  })
  await waitFor('the agent', () => UP.test(output) || child.exitCode !== null)
  if (child.exitCode !== null) throw new Error(output)
  return { port, dataDir: join(base, 'data') }
}

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

t.test('the agent starts the API on the address and with the token it was given', async (t) => {
  const agent = await startAgent(t, { DISCOBOT_AGENT_HOST: '0.0.0.0', DISCOBOT_API_TOKEN: TOKEN })
  t.equal((await ask(agent.port, '/api/status')).status, 401)
  const status = await ask(agent.port, '/api/status', { headers: AUTHORIZATION })
  t.match(JSON.parse(status.body), { services: [{ name: 'agent-api', state: 'ready' }] })

  const asking = jsonAsking({ shell: 'pwd; cat /proc/$PPID/environ | tr "\\0" "\\n"' })
  const answer = await ask(agent.port, '/api/exec', {
    ...asking,
    headers: { ...asking.headers, ...AUTHORIZATION },
  })
  const output = answer.body
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { data?: string }).data ?? '')
    .join('')
  t.match(output, `${join(agent.dataDir, 'workspace')}\n`)
  t.match(output, /^DISCOBOT_SERVICE=agent-api\//m, 'it is the environment of the API')
  t.notMatch(output, /DISCOBOT_API_TOKEN/, 'which does not even hold a digest')
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const environment = readEnvironment(pid)
    if (!environment.includes(`DISCOBOT_DATA_DIR=${agent.dataDir}\0`)) continue
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    if (!command.includes(AGENT_MAIN)) t.notMatch(environment, TOKEN, command)
    t.notMatch(command, TOKEN)
  }
})

interface Event {
  readonly id: number
  readonly data: { readonly service: string; readonly stream: string; readonly text: string }
}

/** The events of a stream that is still open, until there is one that `enough` is content with. */
async function events(answer: IncomingMessage, enough: (event: Event) => boolean): Promise<Event[]> {
  const found: Event[] = []
  let text = ''
  for await (const chunk of answer.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const [, id, data] = /^id: (\d+)\ndata: (.*)$/.exec(block) ?? []
      if (id === undefined || data === undefined) continue
      const event = { id: Number(id), data: JSON.parse(data) as Event['data'] }
      found.push(event)
      if (enough(event)) return found
    }
  }
  return found
}

t.test('what services say can be followed, and they can be restarted', async (t) => {
  const folder = shortFolder(t)
  const [proxyPort, apiPort] = [await freePort(), await freePort()]
  writeFileSync(join(folder, 'proxy.yaml'), `proxy: { port: ${proxyPort}, api_port: ${apiPort} }\n`)
  const { port } = await startAgent(t, {
    DISCOBOT_PROXY: 'on',
    DISCOBOT_PROXY_CONFIG: join(folder, 'proxy.yaml'),
    DISCOBOT_API_CLIENT_TIMEOUT: '2',
  })
  const logs = '/api/services/proxy/logs'
  const { answer } = await open(port, `${logs}?lines=10000&once=true`)
  t.match(answer, { statusCode: 200, headers: { 'content-type': 'text/event-stream' } })
  const first = await events(answer, () => false)
  t.match(first[0]?.data, { service: 'proxy', stream: /^std/, text: String })
  t.match(await ask(port, `${logs}?once=true&lines=0`), { status: 200, body: '' })

  const last = first.at(-1)?.id ?? 0
  const followed = await open(port, logs, { headers: { 'last-event-id': String(last) } })
  const restarted = await ask(port, '/api/services/proxy/restart', { method: 'POST' })
  t.match(JSON.parse(restarted.body), { name: 'proxy', state: 'ready', pid: Number })
  const since = await events(followed.answer, ({ data }) => data.text.includes('ready'))
  t.ok(since.length > 0 && since.every(({ id }) => id > last), 'only what came since')

  const silent = await open(port, '/api/services/proxy/logs?lines=0')
  const beat = await new Promise((resolve) => silent.answer.once('data', resolve))
  t.equal(String(beat), ':\n\n', 'a stream that has nothing to tell shows that it lives')
  silent.asked.destroy()

  for (const [method, path, status] of [
    ['GET', '/api/services/nobody/logs', 404],
    ['POST', '/api/services/nobody/restart', 404],
    ['GET', '/api/services/..%2f..%2fstatus/logs', 404],
    ['POST', '/api/services/x%2frestart%3f/restart', 404],
    ['POST', '/api/services/%ff/restart', 404],
    ['HEAD', logs, 405],
    ['GET', `${logs}?lines=10001`, 400],
  ] as const) {
    const refused = await ask(port, path, { method })
    t.equal(refused.status, status, `${method} ${path} ${refused.body}`)
  }
  const strange = await ask(port, logs, { headers: { 'last-event-id': 'x&service=agent' } })
  t.equal(strange.status, 400)

  const itself = await ask(port, '/api/services/agent-api/restart', { method: 'POST' })
  t.match(itself, { status: 202, body: '{"name":"agent-api"}\n' })
  let back = 0
  while (back !== 200) back = (await ask(port, '/health').catch(() => ({ status: 0 }))).status
})

t.test('without an agent there are no services to ask about', async (t) => {
  const api = await startApi(t)
  for (const [method, path] of [
    ['GET', '/api/services/proxy/logs'],
    ['POST', '/api/services/proxy/restart'],
  ] as const)
    t.match(await ask(api.port, path, { method }), { status: 503, body: /not started by the agent/ })
  const gone = await startApi(t, { DISCOBOT_AGENT_SOCKET: join(shortFolder(t), 'gone.sock') })
  t.match(await ask(gone.port, '/api/services/proxy/logs'), {
    status: 503,
    body: /no agent is running there/,
  })
})

function readEnvironment(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8')
  } catch {
    // It ended meanwhile.
    return ''
  }
}
