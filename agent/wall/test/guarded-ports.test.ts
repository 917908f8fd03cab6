/** In a container the agent's user can neither end what guards it nor take its place. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execPath } from 'node:process'
import t from 'tap'
import { BUILT, startIsolated, type Container } from '../../../test/lab/isolated.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'
const UP = /Discobot is up.*Try next.*\n\n/s
const MAIN = join(BUILT, 'agent/main.js')

/** Answers on the proxy's ports as soon as it gets one of them, for ten seconds. */
const SQUAT = `
const http = require('http')
for (const [port, host] of [[17080, '127.0.0.1'], [17081, '127.0.0.1'], [3002, '127.0.0.1'], [17080, '0.0.0.0'], [17080, '172.17.0.1']]) {
  const server = http.createServer((q, r) => r.end('ROGUE'))
  const go = () => server.listen(port, host)
  server.on('error', () => setTimeout(go, 1))
  server.on('listening', () => console.log('got ' + host + ':' + port))
  go()
}
setTimeout(() => process.exit(), 10000)
console.log('trying')`

async function statusOf(container: Container): Promise<string> {
  return (await container.exec(`'${execPath}' '${MAIN}' status --json`, { user: 'root' })).stdout
}

interface Status {
  readonly boot: readonly { readonly name: string; readonly note?: string }[]
  readonly services: readonly { readonly name: string; readonly pid: number }[]
}

void t.test('the ports stay whose they are', { skip: NEEDS_ROOT }, async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  const boot = async (): Promise<Container> => {
    // As an image has it, where the proxy's process is started before the boot.
    const prepare = 'id discobot-proxy >/dev/null 2>&1 || useradd --system --user-group discobot-proxy'
    const container = await startIsolated(t, { dataDir, prepare, env: { DISCOBOT_DOCKER: 'off' } })
    await container.logged(UP)
    return container
  }
  const first = await boot()
  t.equal(
    (await first.exec('stat -c "%U %a" /.data/proxy-listeners.json', { user: 'root' })).stdout,
    'root 600\n',
  )
  t.equal(await first.stop(), 0)

  const container = await boot()
  const read = async (): Promise<Status> => JSON.parse(await statusOf(container)) as Status
  const before = await read()
  t.equal(
    before.boot.find(({ name }) => name === 'proxy-load')?.note,
    undefined,
    'it is started early all the same',
  )
  const pidIn = ({ services }: Status): number | undefined =>
    services.find(({ name }) => name === 'proxy')?.pid

  const asUser = (script: string): Promise<string> =>
    container.exec(script, { user: 'discobot', login: true }).then(({ stdout, stderr }) => stdout + stderr)
  const outputAsUser = (script: string): Promise<string> =>
    container.exec(script, { user: 'discobot', login: true }).then(({ stdout }) => stdout)
  const restart = 'curl -sS -w " %{http_code}" -X POST http://127.0.0.1:3002/api/services/proxy/restart'
  t.match(await asUser(restart), /guards the workspace's account.*ask as root.* 403$/s)
  t.match(await asUser(`'${execPath}' '${MAIN}' restart proxy`), /may only look; ask as root/)
  t.equal(pidIn(await read()), pidIn(before))

  // Node 22 warns on its error output that it takes proxies from variables.
  const squatting = outputAsUser(`'${execPath}' -e "${SQUAT.replaceAll('"', String.raw`\"`)}"`)
  // Root's own restart, and a crash, are no moment for anybody else.
  const asRoot = async (script: string): Promise<string> => {
    const { stdout, stderr } = await container.exec(script, { user: 'root' })
    return stdout + stderr
  }
  await asRoot(`'${execPath}' '${MAIN}' restart proxy`)
  const restarted = pidIn(await read())
  t.not(restarted, pidIn(before))
  const health = 'for i in 1 2 3; do curl -sS -m 8 http://127.0.0.1:17081/health; done'
  const api = 'http://127.0.0.1:3002'
  const again = `curl -sS -m 8 -X POST -o /dev/null ${api}/api/services/agent-api/restart; curl -sS -m 8 ${api}/health`
  t.match(await asRoot(`kill -9 ${restarted}; ${health}; ${again}`), /("status":"ok".*){4}/s)
  t.not(pidIn(await read()), restarted)
  t.equal(await squatting, 'trying\n')
  t.equal(await container.stop(), 0)
})
