import { execFile, execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { silentLogger } from '../../base/log/logger.js'
import { createLeafIssuer } from '../../proxy/tls/leaf.js'
import { makeAuthority, startHttpOrigin, startHttpsOrigin } from '../../test/lab/harness.js'
import type { BootFindings } from '../boot/findings/findings.js'
import { writeProxyConfig } from '../boot/steps/proxy-config.js'
import { readOptions } from '../settings/options.js'
import { startGitServer } from '../../test/lab/origins/git-server.js'

// Secrets in the environment and in files, the whole system as real processes, traffic of all kinds; and then
// a look into everything it leaves behind.

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))
const API = fileURLToPath(new URL('../api/main.js', import.meta.url))
const execute = promisify(execFile)
const PLACEHOLDER = 'sk-discobot-placeholder'
const UP = /Discobot is up.*Try next.*\n\n/s

const secret = (name: string): string => `leak-${name}-${randomBytes(12).toString('hex')}`

/** Every form in which a text could be found again. Base64 depends on how many bytes stand before it. */
function formsOf(value: string): string[] {
  const aligned = [0, 1, 2].map((offset) => {
    const encoded = Buffer.from('\0'.repeat(offset) + value).toString('base64')
    return encoded.slice(offset === 0 ? 0 : 4, -4)
  })
  return [value, Buffer.from(value).toString('hex'), encodeURIComponent(value), ...aligned]
}

class Secrets {
  readonly #forms: readonly (readonly [name: string, form: string])[]

  constructor(values: Readonly<Record<string, string>>) {
    this.#forms = Object.entries(values).flatMap(([name, value]) =>
      formsOf(value).map((form) => [name, form] as const),
    )
  }

  /** The names of those that `content` holds. */
  in(content: string): string[] {
    return [...new Set(this.#forms.filter(([, form]) => content.includes(form)).map(([name]) => name))]
  }
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

interface Agent {
  readonly pid: number
  output(): string
  printed(pattern: RegExp): Promise<void>
  signal(name: NodeJS.Signals): void
  readonly exit: Promise<number | null>
}

function startAgent(t: Test, cwd: string, env: Record<string, string>): Agent {
  const child = spawn(process.execPath, [MAIN, 'run'], { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      for (const look of waiting) look()
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
    pid: child.pid ?? 0,
    output: () => output,
    signal: (name) => void child.kill(name),
    exit,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!pattern.test(output)) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        void exit.then((code) =>
          reject(new Error(`ended with ${code} before ${String(pattern)}:\n${output}`)),
        )
        look()
      }),
  }
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

function readProc(pid: string | number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    // It has ended, or is somebody else's.
    return ''
  }
}

t.test('no secret is found in logs, answers, processes or files after traffic of all kinds', async (t) => {
  const base = mkdtempSync(join(tmpdir(), 'discobot-leak-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const values = {
    PREFIXED: secret('prefixed'),
    NAMED: secret('named'),
    OWN_KEY: secret('own'),
    GIT: secret('git'),
    FILED: secret('filed'),
    unasked: secret('unasked'),
    AGENT_API: secret('agent-api'),
  }
  const [agentPort = 0, proxyPort = 0, apiPort = 0] = await freePorts(3)
  const dataDir = join(base, 'data')

  // Servers that are sent the secrets.
  const authority = await makeAuthority(join(base, 'ca'))
  const blob = randomBytes(50_000)
  const blobPath = `/v2/a/blobs/sha256:${createHash('sha256').update(blob).digest('hex')}`
  const seen: string[] = []
  const witness = (request: IncomingMessage): void => void seen.push(JSON.stringify(request.rawHeaders))
  const origin = await startHttpsOrigin(t, authority, 'localhost', (request, response) => {
    witness(request)
    if (request.url === blobPath) response.end(blob)
    else if (request.url === '/cut')
      response.writeHead(200, { 'Content-Length': 10 }).write('half', () => response.destroy())
    else if (request.url === '/reset') request.socket.destroy()
    else response.end('ok')
  })
  const issuer = createLeafIssuer(authority, Date.now)
  const gitServer = await startGitServer(
    t,
    join(base, 'served'),
    { username: 'x-access-token', password: values.GIT },
    undefined,
    { tls: { cert: issuer.issue('127.0.0.1'), key: issuer.keyPem } },
  )
  const elsewhere: string[] = []
  const other = await startHttpsOrigin(t, authority, '127.0.0.1', (request, response) => {
    elsewhere.push(JSON.stringify(request.rawHeaders))
    response.end('ok')
  })
  const plain = await startHttpOrigin(t, (request, response) => {
    elsewhere.push(JSON.stringify(request.rawHeaders))
    response.end('ok')
  })

  // What the operator, the workspace and the image bring along.
  const filed = join(base, 'filed')
  writeFileSync(filed, `${values.FILED}\n`, { mode: 0o600 })
  const operatorFile = join(base, 'operator.yaml')
  const operatorText = `
proxy: { port: ${proxyPort}, api_port: ${apiPort} }
tls: { upstream_ca: [ca/ca.crt] }
logging: { level: debug }
blocklist: { domains: [blocked.test] }
secrets:
  PREFIXED: { hosts: [localhost], env: DISCOBOT_SECRET_PREFIXED }
  NAMED: { hosts: [localhost], env: VENDOR_KEY }
  OWN_KEY: { hosts: [localhost] }
  GIT: { hosts: [localhost], env: DISCOBOT_GIT_TOKEN }
  FILED: { hosts: [localhost], file: filed, placeholder: ${PLACEHOLDER} }
headers:
  localhost:
    set: { Authorization: 'Bearer \${PREFIXED}', X-Named: '\${NAMED}', X-Own: '\${OWN_KEY}' }
    append: { X-Git: '\${GIT}' }
`
  writeFileSync(operatorFile, operatorText)
  const repository = join(base, 'repository')
  mkdirSync(join(repository, '.discobot/proxy'), { recursive: true })
  writeFileSync(
    join(repository, '.discobot/proxy/config.yaml'),
    'secrets: { STOLEN: { hosts: [evil.test], env: VENDOR_KEY } }\nheaders: { evil.test: { set: { X-A: "${PREFIXED}" } } }\n',
  )
  const git = (...args: string[]): void =>
    void execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: repository })
  git('init', '-q')
  git('add', '.')
  git('commit', '-qm', 'first')
  git('clone', '-q', '--bare', '.', join(base, 'served/repository.git'))
  // Whoever is run by that name says what it was given.
  const bin = join(base, 'bin')
  const gitEnvironment = join(base, 'git-environment')
  mkdirSync(bin)
  const realGit = execFileSync('which', ['git'], { encoding: 'utf8' }).trim()
  writeFileSync(
    join(bin, 'git'),
    `#!/bin/sh\n{ /usr/bin/env; echo "$@"; } >>'${gitEnvironment}'\nexec '${realGit}' "$@"\n`,
  )
  chmodSync(join(bin, 'git'), 0o755)
  mkdirSync(join(base, 'home'))
  const service = 'env >"$DISCOBOT_DATA_DIR/service"; sh -lc env >"$DISCOBOT_DATA_DIR/login"; exec "$0" "$1"'

  const agent = startAgent(t, base, {
    PATH: `${bin}:${process.env['PATH']}`,
    HOME: join(base, 'home'),
    DISCOBOT_DATA_DIR: dataDir,
    DISCOBOT_AGENT_PORT: String(agentPort),
    DISCOBOT_AGENT_COMMAND: JSON.stringify(['sh', '-c', service, process.execPath, API]),
    DISCOBOT_PROXY_CONFIG: operatorFile,
    DISCOBOT_WORKSPACE: `${gitServer.url}/repository.git`,
    GIT_SSL_CAINFO: join(base, 'ca/ca.crt'),
    DISCOBOT_API_TOKEN: values.AGENT_API,
    DISCOBOT_LOG_LEVEL: 'debug',
    DISCOBOT_SECRET_PREFIXED: values.PREFIXED,
    DISCOBOT_SECRET_UNASKED: values.unasked,
    VENDOR_KEY: values.NAMED,
    OWN_KEY: values.OWN_KEY,
    DISCOBOT_GIT_TOKEN: values.GIT,
    KEPT: 'for the service',
  })
  await agent.printed(UP)
  t.ok(
    gitServer.authorizations.some((value) => value.startsWith('Basic ')),
    'the clone needed its token',
  )
  const tokenFile = join(dataDir, 'proxy/api-token')
  const proxyApi = readFileSync(tokenFile, 'utf8').trim()
  const secrets = new Secrets({ ...values, proxyApi })

  // Traffic of all kinds, whose answers are kept too.
  const answers: string[] = []
  const curl = async (...args: string[]): Promise<string> => {
    const command = [
      '-sSv',
      '-m',
      '20',
      '-x',
      `http://127.0.0.1:${proxyPort}`,
      '--cacert',
      join(dataDir, 'proxy/certs/ca.crt'),
      ...args,
    ]
    const { stdout, stderr } = await execute('curl', command, {
      env: { PATH: process.env['PATH'] },
      maxBuffer: 1024 * 1024,
      encoding: 'latin1',
    }).catch((error: unknown) => error as { stdout: string; stderr: string })
    answers.push(stdout, stderr)
    return stdout + stderr
  }
  const https = `https://localhost:${origin.port}`
  const basic = Buffer.from(`user:${PLACEHOLDER}`).toString('base64')
  await curl(`${https}/`)
  await curl('-x', `socks5h://127.0.0.1:${proxyPort}`, `${https}/`, '-H', `X-Api-Key: ${PLACEHOLDER}`)
  await curl(`${https}/?signature=1`, '-d', 'upload', '-H', 'X-Git: own', '-H', `Api-Key: ${PLACEHOLDER}`)
  await curl(
    `${https}/`,
    '-H',
    'Connection: Upgrade',
    '-H',
    'Upgrade: something',
    '-H',
    `X-Auth-Token: ${PLACEHOLDER}`,
  )
  await curl(`${https}/`, '-H', `Private-Token: Basic ${basic}`)
  t.match(await curl(`${https}${blobPath}`, '-o', '/dev/null'), /X-Cache: MISS/i)
  t.match(await curl(`${https}${blobPath}`, '-o', '/dev/null'), /X-Cache: HIT/i)
  // Whether it is there is the origin's to say.
  t.match(await curl(`${https}${blobPath}`, '-I'), /^HTTP\S+ 200 /m)
  await curl(`${https}/cut`)
  t.match(await curl(`${https}/reset`), / 502 /)
  t.match(await curl('https://localhost:1/'), / 50\d /)
  t.match(await curl('https://blocked.test/'), / 403 /)
  t.match(await curl(`${https}/`, '-H', 'Host: 127.0.0.1'), / 421 /)
  t.match(await curl(`https://127.0.0.1:${other.port}/`, '-H', `Authorization: Basic ${basic}`), / 200 /)
  t.match(await curl(`http://localhost:${plain.port}/`, '-H', `X-Api-Key: ${PLACEHOLDER}`), / 200 /)
  const garbage = connect(proxyPort, '127.0.0.1').end('\x16\x03\x01\r\n\r\n\0')
  answers.push(await text(garbage))
  t.strictSame(secrets.in(seen.join()).sort(), ['FILED', 'GIT', 'NAMED', 'OWN_KEY', 'PREFIXED'])
  t.equal(elsewhere.length, 2)
  t.strictSame(secrets.in(elsewhere.join()), [])

  // A configuration that cannot be used, and one that can.
  chmodSync(filed, 0o644)
  agent.signal('SIGHUP')
  await agent.printed(/cannot reload the configuration.*FILED/)
  writeFileSync(filed, `${values.FILED}\n${values.FILED}`)
  chmodSync(filed, 0o600)
  agent.signal('SIGHUP')
  await agent.printed(/cannot reload the configuration.*FILED: its value holds a line break/)
  writeFileSync(filed, values.FILED)
  agent.signal('SIGHUP')
  await agent.printed(/configuration reloaded/)
  await curl(`${https}/`)

  const { stdout } = await execute(process.execPath, [MAIN, 'status', '--json'], {
    env: { DISCOBOT_AGENT_SOCKET: join(dataDir, 'agent.sock') },
  })
  answers.push(stdout)
  for (const path of ['/health', '/api/config', '/api/cache/stats', '/api/requests', '/metrics', '/']) {
    answers.push(await (await fetch(`http://127.0.0.1:${apiPort}${path}`)).text())
  }
  const patch = await fetch(`http://127.0.0.1:${apiPort}/api/config`, {
    method: 'PATCH',
    headers: { Authorization: `Bearer ${proxyApi}`, 'Content-Type': 'application/merge-patch+json' },
    body: '{"logging": {"level": "debug"}}',
  })
  t.equal(patch.status, 200)
  answers.push(await patch.text())
  for (const path of ['/health', '/status', '/environment', '/', '/api/status']) {
    for (const shown of [values.AGENT_API, `${values.AGENT_API}x`]) {
      const headers = { Authorization: `Bearer ${shown}` }
      answers.push(await (await fetch(`http://127.0.0.1:${agentPort}${path}`, { headers })).text())
    }
  }
  t.strictSame(secrets.in(agent.output()), [], 'logs')
  t.match(agent.output(), /STOLEN.*is refused/)
  t.match(agent.output(), /header rule withheld/)
  t.strictSame(secrets.in(answers.join('\n')), [], 'answers')

  const started = secrets.in(readProc(agent.pid, 'environ'))
  for (const name of ['GIT', 'NAMED', 'OWN_KEY', 'PREFIXED', 'unasked'])
    t.ok(started.includes(name), `we were started with ${name}, so this does find what is there`)
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    t.strictSame(secrets.in(readProc(pid, 'cmdline')), [], `arguments of ${pid}`)
    // The proxy's neither: it has them by its handover.
    if (Number(pid) === agent.pid) continue
    t.strictSame(secrets.in(readProc(pid, 'environ')), [], `environment of ${pid}`)
  }
  const told = readFileSync(join(dataDir, 'service'), 'utf8') + readFileSync(join(dataDir, 'login'), 'utf8')
  t.match(told, 'KEPT=for the service')
  t.notMatch(told, /VENDOR_KEY|OWN_KEY|DISCOBOT_SECRET_|DISCOBOT_GIT_TOKEN/)
  t.match(readFileSync(gitEnvironment, 'utf8'), 'PATH=')
  t.strictSame(secrets.in(readFileSync(gitEnvironment, 'utf8')), [], 'environment and arguments of git')

  agent.signal('SIGTERM')
  t.equal(await agent.exit, 0)
  const files = filesBelow(dataDir)
  t.ok(files.some((file) => file.endsWith('.meta')))
  t.match(readFileSync(join(dataDir, 'proxy/config.yaml'), 'utf8'), 'Bearer ${PREFIXED}')
  for (const file of [...files, ...filesBelow(join(base, 'home'))]) {
    const holds = secrets.in(readFileSync(file, 'latin1'))
    t.strictSame(holds, file === tokenFile ? ['proxyApi'] : [], file)
  }
  t.strictSame(secrets.in(agent.output()), [], 'logs to the end')
})

t.test('without a proxy, variables that the operator names for it are withheld all the same', async (t) => {
  const base = mkdtempSync(join(tmpdir(), 'discobot-leak-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const values = { NAMED: secret('named'), OWN_KEY: secret('own'), unasked: secret('unasked') }
  const secrets = new Secrets(values)
  const [agentPort = 0] = await freePorts(1)
  const operatorFile = join(base, 'operator.yaml')
  writeFileSync(
    operatorFile,
    'secrets: { OWN_KEY: { hosts: [a.test] }, A: { hosts: [a.test], env: VENDOR_KEY } }\n',
  )
  const agent = startAgent(t, base, {
    PATH: process.env['PATH'] ?? '',
    HOME: base,
    DISCOBOT_DATA_DIR: join(base, 'data'),
    DISCOBOT_AGENT_PORT: String(agentPort),
    DISCOBOT_AGENT_COMMAND: JSON.stringify(['sh', '-c', 'env; exec "$0" "$1"', process.execPath, API]),
    DISCOBOT_PROXY_CONFIG: operatorFile,
    DISCOBOT_PROXY: 'off',
    DISCOBOT_SECRET_UNASKED: values.unasked,
    VENDOR_KEY: values.NAMED,
    OWN_KEY: values.OWN_KEY,
    KEPT: 'for the service',
  })
  await agent.printed(UP)
  t.match(agent.output(), 'KEPT=for the service')
  t.strictSame(secrets.in(agent.output()), [])
  agent.signal('SIGTERM')
  t.equal(await agent.exit, 0)
})

t.test('of an operator file that is broken, every variable named in it counts as a secret', async (t) => {
  const base = t.testdir({ 'operator.yaml': 'secretz: { env: VENDOR_KEY } # or OWN_KEY\n' })
  const options = readOptions({
    env: {
      DISCOBOT_PROXY_CONFIG: join(base, 'operator.yaml'),
      DISCOBOT_DATA_DIR: join(base, 'data'),
      VENDOR_KEY: 'a',
      OWN_KEY: 'b',
      KEY: 'c',
    },
    pid: 2,
    uid: 1000,
    cwd: base,
    homedir: base,
  })
  mkdirSync(options.data.proxyDir, { recursive: true })
  const findings: BootFindings = {}
  const writing = writeProxyConfig(
    {
      options,
      owner: () => Promise.resolve(undefined),
      engine: { decide: () => ({ kind: 'none', why: 'it is not looked at' }), key: 'none' },
      logger: silentLogger,
    },
    findings,
  )
  await t.rejects(writing, { code: 'PROXY_CONFIG_PROBLEMS' })
  t.strictSame(findings.secretVariables, ['VENDOR_KEY', 'OWN_KEY'])
})
