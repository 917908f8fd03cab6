import { spawn, execFile, type ChildProcess } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { AgentStatus } from '../status/status.js'
import { waitFor } from '../../test/lab/service-lab.js'

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))
const execute = promisify(execFile)

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

interface Agent {
  readonly child: ChildProcess
  readonly dataDir: string
  readonly agentPort: number
  readonly proxyPort: number
  readonly apiPort: number
  output(): string
  /** Resolves when the output matches, rejects when the agent ends first. */
  printed(pattern: RegExp): Promise<void>
  status(): Promise<AgentStatus>
  readonly exit: Promise<number | null>
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = []
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    ports.push((server.address() as AddressInfo).port)
  }
  for (const server of servers) await new Promise((resolve) => server.close(resolve))
  return ports
}

/** The whole agent as a guest on this machine, in a folder short enough for a socket's name. */
async function startAgent(t: Scope, env: Record<string, string> = {}, into?: string): Promise<Agent> {
  const base = into ?? mkdtempSync(join(tmpdir(), 'discobot-run-'))
  if (into === undefined) t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const [agentPort = 0, proxyPort = 0, apiPort = 0] = await freePorts(3)
  const operatorFile = join(base, 'operator.yaml')
  writeFileSync(operatorFile, `proxy: { port: ${proxyPort}, api_port: ${apiPort} }\n`)
  const dataDir = join(base, 'data')
  mkdirSync(join(base, 'home'), { recursive: true })
  const child = spawn(process.execPath, [MAIN, 'run'], {
    env: {
      PATH: process.env['PATH'],
      HOME: join(base, 'home'),
      DISCOBOT_DATA_DIR: dataDir,
      DISCOBOT_AGENT_PORT: String(agentPort),
      DISCOBOT_PROXY_CONFIG: operatorFile,
      ...env,
    },
    cwd: base,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let onOutput = (): void => undefined
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      onOutput()
    })
  }
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve))
  t.teardown(async () => {
    child.kill('SIGTERM')
    const impatience = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await exit
    clearTimeout(impatience)
  })
  return {
    child,
    dataDir,
    agentPort,
    proxyPort,
    apiPort,
    output: () => output,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        onOutput = () => {
          if (pattern.test(output)) resolve()
        }
        onOutput()
        void exit.then((code) =>
          reject(new Error(`the agent ended with ${code} before ${pattern}:\n${output}`)),
        )
      }),
    status: async () => {
      const { stdout } = await execute(process.execPath, [MAIN, 'status', '--json'], {
        env: { DISCOBOT_AGENT_SOCKET: join(dataDir, 'agent.sock') },
      })
      return JSON.parse(stdout) as AgentStatus
    },
    exit,
  }
}

const UP = /Discobot is up.*Try next.*\n\n/s

/** Processes that carry the mark of a service of an agent in that data dir. */
function survivors(dataDir: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const env = readFileSync(`/proc/${pid}/environ`, 'utf8')
      return env.includes(`DISCOBOT_DATA_DIR=${dataDir}`) && env.includes('DISCOBOT_SERVICE')
    } catch {
      return false
    }
  })
}

void t.test(
  'as a guest everything comes up, touches the data dir alone, and Ctrl-C takes it all down',
  async (t) => {
    const agent = await startAgent(t)
    const { dataDir } = agent
    await agent.printed(UP)
    const status = await agent.status()
    t.equal(status.phase, 'running')
    t.strictSame(status.degraded, [], agent.output())
    t.match(status.services, [
      { name: 'proxy', state: 'ready' },
      { name: 'agent-api', state: 'ready' },
    ])
    const names = status.boot.map((step) => step.name)
    t.strictSame(names, [
      'proxy-load',
      'home',
      'control',
      'workspace',
      'proxy-config',
      'ca',
      'trust',
      'wall',
      'proxy',
      'dockerd',
      'agent-api-load',
      'agent-api',
    ])
    const health: unknown = await (await fetch(`http://127.0.0.1:${agent.apiPort}/health`)).json()
    t.match(health, { status: 'ok', ca_cert: join(dataDir, 'proxy/certs/ca.crt') })
    t.match(await (await fetch(`http://127.0.0.1:${agent.agentPort}/health`)).json(), { status: 'ok' })
    t.match(
      agent.output(),
      `curl -x http://127.0.0.1:${agent.proxyPort} --cacert ${dataDir}/proxy/certs/ca.crt`,
    )
    t.match(agent.output(), `curl http://127.0.0.1:${agent.apiPort}/api/cache/stats`)
    t.strictSame(readdirSync(join(dataDir, '..', 'home')), [])
    t.equal(statSync(join(dataDir, 'proxy/certs')).mode & 0o777, 0o700)
    t.equal(statSync(join(dataDir, 'proxy/certs/ca.key')).mode & 0o777, 0o600)
    t.equal(statSync(join(dataDir, 'proxy/config.yaml')).mode & 0o777, 0o600)
    t.ok(statSync(join(dataDir, 'workspace')).isDirectory())

    agent.child.kill('SIGINT')
    t.equal(await agent.exit, 0, agent.output())
    const stopped = [...agent.output().matchAll(/service stopped .*?service=(\S+)/g)].map((match) => match[1])
    t.strictSame(stopped, ['agent-api', 'proxy'])
    t.strictSame(survivors(dataDir), [])
    t.notOk(existsSync(join(dataDir, 'agent.sock')))
  },
)

void t.test('a second start reuses the CA', async (t) => {
  const base = mkdtempSync(join(tmpdir(), 'discobot-run-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const certificates: string[] = []
  for (const _start of [1, 2]) {
    const agent = await startAgent(t, {}, base)
    await agent.printed(UP)
    certificates.push(readFileSync(join(agent.dataDir, 'proxy/certs/ca.crt'), 'utf8'))
    agent.child.kill('SIGTERM')
    t.equal(await agent.exit, 0)
  }
  t.equal(certificates[0], certificates[1])
})

void t.test('two agents never share a data dir', async (t) => {
  const first = await startAgent(t, { DISCOBOT_PROXY: 'off' })
  await first.printed(UP)
  const second = await startAgent(t, { DISCOBOT_PROXY: 'off' }, join(first.dataDir, '..'))
  t.equal(await second.exit, 1)
  t.match(second.output(), new RegExp(`an agent with pid ${first.child.pid} already answers`))
  t.equal((await first.status()).phase, 'running')
})

void t.test(
  "the operator's command gets the variables and no secret, and its code is the container's",
  async (t) => {
    const script = 'env > "$DISCOBOT_WORKSPACE_PATH/env"; exit 7'
    const agent = await startAgent(t, {
      DISCOBOT_AGENT_COMMAND: JSON.stringify(['sh', '-c', script]),
      DISCOBOT_AGENT_PORT: '',
      DISCOBOT_GIT_TOKEN: 's3cret-token',
      DISCOBOT_GIT_SSH_KEY: 's3cret-key',
      DISCOBOT_API_TOKEN: 's3cret-api',
      OPERATORS_OWN: 'kept',
    })
    // Started again and again with growing pauses; the first run is enough.
    await agent.printed(/service ended, will start again service=agent-api/)
    const env = readFileSync(join(agent.dataDir, 'workspace/env'), 'utf8')
    t.match(env, `HTTPS_PROXY=http://127.0.0.1:${agent.proxyPort}\n`)
    t.match(env, `NODE_EXTRA_CA_CERTS=${agent.dataDir}/proxy/certs/ca.crt\n`)
    t.match(env, `SSL_CERT_FILE=${agent.dataDir}/proxy/ca-bundle.crt\n`)
    t.match(env, 'OPERATORS_OWN=kept\n')
    t.notMatch(env, /s3cret/)
    t.notMatch(agent.output(), /s3cret/)
    agent.child.kill('SIGTERM')
    t.equal(await agent.exit, 0)
  },
)

void t.test(
  'a command that is not there ends the container with 127, one that ends well with 0',
  async (t) => {
    const missing = await startAgent(t, {
      DISCOBOT_PROXY: 'off',
      DISCOBOT_AGENT_PORT: '',
      DISCOBOT_AGENT_COMMAND: '/nonexistent/agent --flag',
    })
    t.equal(await missing.exit, 127, missing.output())
    const fine = await startAgent(t, {
      DISCOBOT_PROXY: 'off',
      DISCOBOT_AGENT_PORT: '',
      DISCOBOT_AGENT_COMMAND: 'true',
    })
    t.equal(await fine.exit, 0, fine.output())
  },
)

void t.test(
  'whatever is wrong, the parts that do not depend on it come up, and status says what is missing',
  async (t) => {
    const agent = await startAgent(t, {
      DISCOBOT_WORKSPACE: 'file:///nonexistent/repo.git',
      DISCOBOT_DOCKER: 'perhaps',
      DISCOBOT_USER: 'ada',
    })
    await agent.printed(UP)
    const { degraded, services } = await agent.status()
    t.match(degraded, [
      /^DISCOBOT_USER "ada": has no effect/,
      /^DISCOBOT_DOCKER "perhaps": want auto or rootless or rootful or off/,
      /^workspace: cannot clone file:\/\/\/nonexistent\/repo\.git: .*; check DISCOBOT_WORKSPACE/,
    ])
    t.match(services, [
      { name: 'proxy', state: 'ready' },
      { name: 'agent-api', state: 'ready' },
    ])
    t.match(agent.output(), /Discobot is up, with 3 things missing/)
  },
)

void t.test('a taken port costs the proxy and its variables, loudly, and nothing else', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => taken.close(() => resolve())))
  const { port } = taken.address() as AddressInfo
  const base = mkdtempSync(join(tmpdir(), 'discobot-run-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const operatorFile = join(base, 'taken.yaml')
  const [proxyPort = 0] = await freePorts(1)
  writeFileSync(operatorFile, `proxy: { port: ${proxyPort}, api_port: ${port} }\n`)
  const agent = await startAgent(t, {
    DISCOBOT_PROXY_CONFIG: operatorFile,
    DISCOBOT_AGENT_PORT: '',
    DISCOBOT_AGENT_COMMAND: JSON.stringify([
      'sh',
      '-c',
      'env > "$DISCOBOT_WORKSPACE_PATH/env"; exec sleep 60',
    ]),
  })
  await agent.printed(UP)
  t.match(agent.output(), /going on WITHOUT the proxy/)
  const { degraded } = await agent.status()
  t.match(degraded, [
    /^proxy: cannot listen on 127\.0\.0\.1:\d+: another process has it; stop that one \(pid \d+, \S+\); name other ports as proxy\.port/,
  ])
  t.notMatch(readFileSync(join(agent.dataDir, 'workspace/env'), 'utf8'), /proxy=|SSL_CERT_FILE/i)
  agent.child.kill('SIGTERM')
  t.equal(await agent.exit, 0)
  t.strictSame(survivors(agent.dataDir), [])
})

void t.test('a stop in the middle of the boot ends what is under way, with code 0', async (t) => {
  // Accepts, and never answers.
  const silent = createServer(() => undefined)
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => silent.close(() => resolve())))
  const connected = new Promise<Socket>((resolve) => silent.once('connection', resolve))
  const { port } = silent.address() as AddressInfo
  const agent = await startAgent(t, { DISCOBOT_WORKSPACE: `http://127.0.0.1:${port}/repo.git` })
  const socket = await connected
  socket.on('error', () => undefined).resume()
  const closed = new Promise((resolve) => socket.once('close', resolve))
  agent.child.kill('SIGTERM')
  t.equal(await agent.exit, 0, agent.output())
  await closed
  t.pass('git is gone')
  t.strictSame(survivors(agent.dataDir), [])
})

void t.test(
  'a stop ends in its time whatever a service does, says what it waits for, and ends with it',
  async (t) => {
    const agent = await startAgent(t, {
      DISCOBOT_PROXY: 'off',
      DISCOBOT_AGENT_PORT: '',
      // Of which the agent's command has 10 parts of 35.
      DISCOBOT_STOP_TIMEOUT: '4500ms',
      DISCOBOT_AGENT_COMMAND: JSON.stringify([
        'sh',
        '-c',
        'trap "" TERM; echo deaf; while :; do sleep 0.05; done',
      ]),
    })
    await agent.printed(UP)
    await agent.printed(/deaf +service=agent-api/)
    const pid = (await agent.status()).services.find(({ name }) => name === 'agent-api')?.pid
    agent.child.kill('SIGTERM')
    await agent.printed(/still stopping .*running=agent-api/)
    await waitFor('the last process', () => !existsSync(`/proc/${pid}`))
    const endedAt = performance.now()
    t.equal(await agent.exit, 0)
    // `npm run bench:agent` has the figure; this only shows that nothing is waited for.
    t.ok(performance.now() - endedAt < 1_000)
    t.match(agent.output(), /stopped .*killed=agent-api/)
  },
)

void t.test('HUP has the configuration read again', async (t) => {
  const agent = await startAgent(t)
  await agent.printed(UP)
  const file = join(agent.dataDir, '..', 'operator.yaml')
  writeFileSync(file, `${readFileSync(file, 'utf8')}cache: { max_size: 1GB }\n`)
  agent.child.kill('SIGHUP')
  await agent.printed(/configuration read again/)
  t.match(readFileSync(join(agent.dataDir, 'proxy/config.yaml'), 'utf8'), /max_size: 1073741824/)
  t.equal((await agent.status()).phase, 'running')
})

void t.test('the command line explains itself', async (t) => {
  const call = (...args: string[]) => execute(process.execPath, [MAIN, ...args])
  t.match((await call('--help')).stdout, /^Usage: discobot-agent/)
  t.match((await call('--version')).stdout, /^\d+\.\d+\.\d+\n$/)
  await t.rejects(call('dance'), { code: 2, stderr: /unknown command "dance"/ })
  await t.rejects(call('--loud'), { code: 2, stderr: /--loud/ })
  const nowhere = { env: { DISCOBOT_AGENT_SOCKET: '/nonexistent/agent.sock' } }
  await t.rejects(execute(process.execPath, [MAIN, 'status'], nowhere), {
    code: 1,
    stderr: /no agent is running there/,
  })
})

/** Exceptions and rejections that nobody catches, in process 1 alone, at each SIGCONT. */
const FAULTY = `if (process.argv[1].endsWith('agent/main.js') && process.argv[2] === 'run')
  process.on('SIGCONT', () => {
    setTimeout(() => { throw new Error('a callback fails') })
    Promise.reject(new Error('a promise fails'))
    process.nextTick(() => { throw 'no error at all' })
  })`

void t.test('a fault of its own does not end the agent: it tells of it, and goes on', async (t) => {
  const preload = join(t.testdir({ 'faulty.mjs': FAULTY }), 'faulty.mjs')
  const agent = await startAgent(t, {
    NODE_OPTIONS: `--import=${preload}`,
    DISCOBOT_PROXY: 'off',
    DISCOBOT_LOG_LEVEL: 'debug',
  })
  await agent.printed(UP)
  agent.child.kill('SIGCONT')
  await agent.printed(/no error at all[^]*a promise fails[^]*a callback fails/)
  agent.child.kill('SIGCONT')
  await agent.printed(/callback fails[^]*callback fails.*times=2/)
  t.match(agent.output(), /fault of the agent itself.*reason="a callback fails"/)
  t.match(agent.output(), /stack of the fault.*faulty\.mjs/)
  const { degraded, services, phase } = await agent.status()
  t.equal(phase, 'running')
  t.match(degraded, [/^agent: 6 faults of its own, the last of them in .*: a callback fails; it goes on/])
  t.match(services, [{ name: 'agent-api', state: 'ready', restarts: 0 }])
  agent.child.kill('SIGCONT')
  agent.child.kill('SIGTERM')
  t.equal(await agent.exit, 0, 'also while it stops')
  t.match(agent.output(), /stopped .*exitCode=0/)
})

void t.test('as JSON every line is an object, also the one that says that all is up', async (t) => {
  const agent = await startAgent(t, { DISCOBOT_LOG_FORMAT: 'json' })
  await agent.printed(/"msg":"Discobot is up".*\n/)
  agent.child.kill('SIGINT')
  t.equal(await agent.exit, 0)
  const lines = agent.output().trimEnd().split('\n')
  t.ok(lines.length > 15)
  for (const line of lines) t.ok(isObject(line), line)
  const up = lines.find((line) => line.includes('Discobot is up')) ?? '{}'
  t.match(JSON.parse(up), { level: 'info', degraded: [], next: [/^curl -x /, /./, / status$/] })
})

function isObject(line: string): boolean {
  try {
    return typeof JSON.parse(line) === 'object'
  } catch {
    return false
  }
}
