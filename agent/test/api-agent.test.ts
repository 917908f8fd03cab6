import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { ask, jsonAsking, type Scope } from './api-process.js'
import { shortFolder, waitFor } from './lab.js'

const AGENT_MAIN = resolve(dirname(fileURLToPath(import.meta.url)), '../main.js')
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
  t.match(output, /^DISCOBOT_API_TOKEN_SHA256=[0-9a-f]{64}$/m, 'it is the environment of the API')
  t.notMatch(output, TOKEN)
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const environment = readEnvironment(pid)
    if (!environment.includes(`DISCOBOT_DATA_DIR=${agent.dataDir}\0`)) continue
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    if (!command.includes(AGENT_MAIN)) t.notMatch(environment, TOKEN, command)
    t.notMatch(command, TOKEN)
  }
})

function readEnvironment(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8')
  } catch {
    // It ended meanwhile.
    return ''
  }
}
