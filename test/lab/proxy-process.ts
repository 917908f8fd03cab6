import { once } from 'node:events'
import { readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { stringify } from 'yaml'
import { folder, launch } from './program.js'

/** Long enough for a machine that has other things to do. */
const ANSWER_LIMIT_MS = 10_000
const SETTLE_LIMIT_MS = 45_000

/** The proxy as a process of its own, looked at from outside. */
export interface ProxyProcess {
  readonly dir: string
  readonly pid: number
  readonly port: number
  readonly apiPort: number
  /** What it said so far. */
  log(): string
  /** Throws unless `/health` answers with 200. */
  assertHealthy(): Promise<void>
  /** The files and sockets it has open, each by a name of its own. */
  descriptors(): readonly string[]
  /** Resolves with those that are not in `before`, once there are no more than then; at the latest after 45 s. */
  leftDescriptors(before: readonly string[]): Promise<readonly string[]>
  /** What it keeps in memory when nothing is left to collect. */
  residentBytes(): Promise<number>
}

/** @param config what it says besides ports that the kernel chooses. */
export async function startProxyProcess(t: Test, config: object): Promise<ProxyProcess> {
  const dir = folder(t)
  const file = join(dir, 'config.yaml')
  writeFileSync(file, stringify({ proxy: { port: 0, api_port: 0 }, ...config }))
  const program = launch(t, ['-config', file], {
    DISCOBOT_DATA_DIR: dir,
    // SIGUSR1 opens the inspector, on a port nobody else has.
    NODE_OPTIONS: '--inspect-port=127.0.0.1:0',
  })
  await program.logged(/proxy ready.*\n/)
  const [, port, apiPort] = /port=(\d+) api_port=(\d+)/.exec(program.log()) ?? []
  const pid = program.process.pid ?? 0
  const inspector = await openInspector(t, pid, program.log)
  const descriptors = (): readonly string[] => descriptorsOf(pid)
  return {
    dir,
    pid,
    port: Number(port),
    apiPort: Number(apiPort),
    log: program.log,
    async assertHealthy() {
      const { exitCode, signalCode } = program.process
      if (exitCode !== null || signalCode !== null) {
        throw new Error(`the proxy has ended (${exitCode ?? signalCode}):\n${program.log().slice(-4_000)}`)
      }
      const status = await askApi(Number(apiPort), 'GET', '/health')
      if (status !== 200) throw new Error(`/health answered ${status}`)
    },
    descriptors,
    async leftDescriptors(before) {
      const deadline = performance.now() + SETTLE_LIMIT_MS
      let now = descriptors()
      while (now.length > before.length && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 100))
        now = descriptors()
      }
      // What was seen, and not what is there by now: a question may be under way again.
      if (now.length <= before.length) return []
      return now.filter((name) => !before.includes(name)).map((name) => name + connectionOf(pid, name))
    },
    async residentBytes() {
      // Twice: what finalizers let go of in the first is collected in the second.
      await inspector('HeapProfiler.collectGarbage')
      await inspector('HeapProfiler.collectGarbage')
      const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
      return Number(kib) * 1024
    },
  }
}

function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`]
    } catch {
      // Closed between the two looks.
      return []
    }
  })
}

/** What a socket is, for the message of a test that finds one left over: proc(5), `net/tcp` and others. */
function connectionOf(pid: number | undefined, descriptor: string): string {
  const inode = /socket:\[(\d+)\]/.exec(descriptor)?.[1]
  for (const family of ['tcp', 'tcp6', 'udp', 'udp6']) {
    for (const line of readFileSync(`/proc/${pid}/net/${family}`, 'latin1').split('\n')) {
      const fields = line.trim().split(/\s+/)
      const [, local = '', remote = '', state, queues] = fields
      if (inode === undefined || fields[9] !== inode) continue
      const port = (address: string): number => parseInt(address.split(':')[1] ?? '', 16)
      return ` ${family} ${port(local)} to ${port(remote)}, state ${state}, queues ${queues}`
    }
  }
  return inode === undefined ? '' : ' of no TCP or UDP connection'
}

/** Resolves with the status. On a connection of its own, so that none is left in a pool to be counted. */
export async function askApi(
  port: number,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: Buffer,
): Promise<number> {
  const request = httpRequest({
    ...{ agent: false, host: '127.0.0.1', port, method, path },
    headers: { ...headers, ...(body === undefined ? {} : { 'Content-Length': body.length }) },
    signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
  })
  request.end(body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  response.resume()
  await once(response, 'end')
  return response.statusCode ?? 0
}

async function openInspector(
  t: Test,
  pid: number,
  log: () => string,
): Promise<(method: string) => Promise<void>> {
  process.kill(pid, 'SIGUSR1')
  const address = (): string | undefined => /Debugger listening on (ws:\S+)/.exec(log())?.[1]
  while (address() === undefined) await new Promise((resolve) => setTimeout(resolve, 20))
  const socket = new WebSocket(address() ?? '')
  t.teardown(() => socket.terminate())
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  let id = 0
  return (method) => {
    id += 1
    const mine = id
    socket.send(JSON.stringify({ id: mine, method }))
    return new Promise((resolve) => {
      const onMessage = (data: Buffer): void => {
        if ((JSON.parse(data.toString()) as { id?: number }).id !== mine) return
        socket.off('message', onMessage)
        resolve()
      }
      socket.on('message', onMessage)
    })
  }
}
