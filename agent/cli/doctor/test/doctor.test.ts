import { execFile } from 'node:child_process'
import { statfsSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { checkPort } from '../agent.js'
import type { Finding } from '../finding.js'
import { checkCapabilities, checkDisk, checkReaping, checkStopTimeout, checkTools } from '../machine.js'
import { readOptions, type AgentOptions } from '../../../settings/options.js'
import { BUILT, startIsolated } from '../../../../test/lab/isolated.js'
import { shortFolder } from '../../../../test/lab/service-lab.js'

const MAIN = fileURLToPath(new URL('../../../main.js', import.meta.url))
const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root for namespaces; CI has it'
const NOWHERE = '/nonexistent/agent.sock'

interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function call(args: readonly string[], env: Record<string, string>): Promise<Result> {
  const all = { PATH: process.env['PATH'] ?? '', DISCOBOT_AGENT_SOCKET: NOWHERE, ...env }
  return new Promise((resolve) => {
    const child = execFile(execPath, [MAIN, ...args], { env: all }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

const container = (env: Record<string, string> = {}): AgentOptions =>
  readOptions({ env, pid: 1, uid: 0, cwd: '/', homedir: '/root' })

async function listening(t: { teardown(fn: () => unknown): unknown }): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
  return (server.address() as AddressInfo).port
}

t.test('config check names file, line and column of every mistake, and changes nothing', async (t) => {
  const folder = shortFolder(t)
  const proxy = join(folder, 'proxy.yaml')
  const services = join(folder, 'services.yaml')
  const good = join(folder, 'good.yaml')
  writeFileSync(proxy, 'cache:\n  max_sise: 1GB\n')
  writeFileSync(services, 'services:\n  web:\n    comand: x\n  api:\n    command: [a]\n    ports: [99999]\n')
  writeFileSync(good, 'services: { web: { command: "sleep 1" } }\n')
  const env = { DISCOBOT_DATA_DIR: join(folder, 'data') }
  t.match(await call(['config', 'check', proxy], env), {
    code: 1,
    stdout: new RegExp(`^${proxy}:2:3: unknown option .*max_sise.*max_size`),
  })
  const found = await call(['config', 'check', services], env)
  t.equal(found.code, 1)
  t.match(found.stdout, `${services}:3:5: unknown option "services.web.comand"; did you mean "command"?`)
  t.match(found.stdout, new RegExp(`^${services}:6:13: .*a port from 1 to 65535$`, 'm'))
  t.match(await call(['config', 'check', good], env), { code: 0, stdout: `no mistakes in ${good}\n` })
  t.match(await call(['config', 'check', join(folder, 'none')], env), { code: 1, stdout: /does not exist/ })
  t.match(await call(['config', 'mend'], env), { code: 2, stderr: /config can only "check"/ })
  const all = await call(['config', 'check', '--json'], { ...env, DISCOBOT_PROXY_CONFIG: proxy })
  t.equal(all.code, 1)
  t.match(JSON.parse(all.stdout), [{ kind: 'invalid', file: proxy, mark: { line: 2, col: 3 } }])
})

t.test('doctor says what is wrong here and what to do about it, also without an agent', async (t) => {
  const folder = shortFolder(t)
  const taken = await listening(t)
  const operator = join(folder, 'operator.yaml')
  writeFileSync(operator, `proxy: { port: ${taken}, api_port: ${taken + 1} }\n`)
  const { code, stdout } = await call(['doctor', '--json'], {
    DISCOBOT_DATA_DIR: folder,
    DISCOBOT_PROXY_CONFIG: operator,
    DISCOBOT_STOP_TIMEOUT: 'soon',
  })
  t.equal(code, 1)
  const findings = JSON.parse(stdout) as Finding[]
  const of = (check: string): Finding | undefined => findings.find((one) => one.check === check)
  t.match(of('agent'), { state: 'unknown', what: /no agent is running there/ })
  t.match(of('settings'), { state: 'warning', what: /DISCOBOT_STOP_TIMEOUT "soon"/ })
  t.match(of(`port ${taken}`), {
    state: 'problem',
    remedy: /proxy\.port in the file of DISCOBOT_PROXY_CONFIG/,
  })
  t.match(of('reaping'), { state: 'ok' })
  t.match(of('disk'), { state: String, what: /GiB left/ })
  for (const { check, state, remedy } of findings) t.ok(state === 'ok' || remedy !== undefined, check)
})

t.test('each check tells well from unwell', async (t) => {
  t.match(checkCapabilities(container(), 'CapEff:\t000001ffffffffff\n'), { state: 'ok' })
  t.match(checkCapabilities(container(), 'CapEff:\t00000000a80425fb\n'), {
    state: 'warning',
    what: /CAP_SYS_ADMIN/,
    remedy: /--privileged/,
  })
  t.match(checkTools(container()), { state: 'ok' })
  const native = { reap: () => false, becomeSubreaper: () => false }
  t.match(checkReaping({ ...native, name: 'koffi' }), { state: 'ok' })
  t.match(checkReaping({ ...native, name: 'none', reason: 'no koffi' }), {
    state: 'problem',
    remedy: /--init/,
  })
  const disk = (bavail: number, ffree = 900): Finding =>
    checkDisk(container(), () => ({
      ...statfsSync('/'),
      bsize: 4096,
      blocks: 100_000_000,
      bavail,
      files: 1_000,
      ffree,
    }))
  t.match(disk(50_000_000), { state: 'ok' })
  t.match(disk(50_000_000, 5), { state: 'warning', what: /inodes/ })
  t.match(disk(1_000_000), { state: 'warning', remedy: /make room/ })
  t.match(disk(1_000), { state: 'problem' })
  t.match(checkStopTimeout(container()), { state: 'warning', remedy: /--stop-timeout 40/ })
  t.match(checkStopTimeout(container({ DISCOBOT_CONTAINER_STOP_TIMEOUT: '40' })), { state: 'ok' })
  t.match(checkStopTimeout(container({ DISCOBOT_STOP_TIMEOUT: '9' })), { state: 'ok' })
  const port = { port: await listening(t), service: 'proxy', setting: 'proxy.port' }
  t.match(await checkPort(port, undefined), { state: 'problem', what: /taken/ })
})

t.test(
  'in a container that is well it finds nothing wrong, and what is broken by its remedy',
  { skip: NEEDS_ROOT },
  async (t) => {
    const inside = await startIsolated(t, {
      env: { DISCOBOT_DOCKER: 'off', DISCOBOT_CONTAINER_STOP_TIMEOUT: '40' },
    })
    await inside.logged(/Discobot is up/)
    const agent = `'${execPath}' '${join(BUILT, 'agent/main.js')}'`
    const well = await inside.exec(`${agent} doctor`)
    t.equal(well.code, 0, well.stdout + well.stderr)
    t.match(well.stdout, /✓ port 17080 +proxy\n/)
    t.match(well.stdout, /✓ CA +in \/etc\/ssl\/certs\/ca-certificates\.crt/)
    t.match(well.stdout, /✓ proxy +answers/)
    t.equal((await inside.exec(`${agent} healthcheck`, { user: 'discobot' })).stdout, 'healthy\n')
    await inside.exec(`${agent} stop proxy; : >/etc/ssl/certs/ca-certificates.crt`)
    const unwell = await inside.exec(`${agent} doctor`, { user: 'discobot' })
    t.equal(unwell.code, 1)
    t.match(unwell.stdout, /✗ proxy +does not answer.*\n +→ discobot-agent restart proxy/)
    t.match(unwell.stdout, /✗ CA .*does not have it\n +→ run update-ca-certificates/)
    t.match(await inside.exec(`${agent} healthcheck`), { code: 1, stdout: 'proxy is stopped\n' })
    t.equal(await inside.stop(), 0)
  },
)
