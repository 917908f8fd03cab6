import { spawn, type ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createLeafIssuer } from '../tls/leaf.js'
import { folder } from '../../test/lab/program.js'
import { makeAuthority } from '../../test/lab/harness.js'
import { startProxyProcess, type ProxyProcess } from '../../test/lab/proxy-process.js'

// Upstreams and clients are killed at any moment, for a minute, under every kind of load. The proxy goes on
// answering, and what they leave behind is let go of.
//
//   TAP_TIMEOUT=900 DISCOBOT_CHURN_SECONDS=600 node dist/proxy/test/churn.serial.test.js

const SECONDS = Number(process.env['DISCOBOT_CHURN_SECONDS'] ?? 60)
/** A kill each so often, on average: a process that has just been started has begun its work by then. */
const KILL_EVERY_MS = 400
const UPSTREAMS = 2
const CLIENTS = 3
/**
 * What a minute of it may leave in memory, beyond what the same load left before: the index of what was stored,
 * contexts and pools that are bounded, and what the allocator keeps in fragments. It does not grow with the kills: 4.5 MiB
 * after 280 of them, 26 and once 70 after 96, beside other work.
 */
const MAX_GROWTH_BYTES = 96 * 1024 * 1024

const program = (name: string): string => fileURLToPath(new URL(`./hostile/${name}.js`, import.meta.url))

/** A process that is started again as often as it is killed. */
class Victim {
  readonly #command: readonly string[]
  #child: ChildProcess
  #stopped = false

  constructor(t: Test, ...command: readonly string[]) {
    this.#command = command
    this.#child = this.#start()
    t.teardown(() => this.stop())
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    this.#stopped = true
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.kill('SIGKILL')
    await gone
  }

  #start(): ChildProcess {
    const child = spawn(process.execPath, [...this.#command], { stdio: 'ignore' })
    child.once('close', () => {
      if (!this.#stopped) this.#child = this.#start()
    })
    return child
  }
}

/** Ports nobody has: a victim comes back on the same ones. */
async function freePorts(count: number): Promise<string[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer().listen(0, '127.0.0.1', () => resolve(server))
        }),
    ),
  )
  const ports = servers.map((server) => String((server.address() as { port: number }).port))
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

async function churn(
  t: Test,
  proxy: ProxyProcess,
  files: readonly string[],
  seconds: number,
): Promise<number> {
  const victims: Victim[] = []
  for (let at = 0; at < UPSTREAMS; at += 1) {
    const ports = await freePorts(3)
    victims.push(new Victim(t, program('churn-upstream'), ...ports, ...files))
    for (let client = 0; client < CLIENTS; client += 1) {
      victims.push(new Victim(t, program('churn-client'), String(proxy.port), ...ports))
    }
  }
  const end = performance.now() + seconds * 1_000
  let kills = 0
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 2 * KILL_EVERY_MS))
    victims[Math.floor(Math.random() * victims.length)]?.kill()
    kills += 1
    await proxy.assertHealthy()
  }
  await Promise.all(victims.map((victim) => victim.stop()))
  return kills
}

t.test(
  'a minute of processes killed at any moment leaves nothing behind',
  { timeout: SECONDS * 1_000 + 240_000 },
  async (t) => {
    const dir = folder(t)
    const authority = await makeAuthority(join(dir, 'ca'))
    const issuer = createLeafIssuer(authority, Date.now)
    const files = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
    writeFileSync(files[0] ?? '', issuer.keyPem)
    writeFileSync(files[1] ?? '', issuer.issue('127.0.0.1'))
    const proxy = await startProxyProcess(t, {
      tls: { upstream_ca: [join(dir, 'ca', 'ca.crt')] },
      // What a vanished peer leaves in the middle of something is let go of after this.
      timeouts: { idle: '5s' },
      // Small enough to be full soon: eviction is part of the load.
      cache: { max_size: 256 * 1024 * 1024 },
    })
    const fresh = proxy.descriptors()
    // What comes with the first use of everything is not what is looked for.
    await churn(t, proxy, files, Math.min(10, SECONDS / 4))
    t.strictSame(await proxy.leftDescriptors(fresh), [], 'after the warm-up')
    const before = proxy.descriptors()
    const memoryBefore = await proxy.residentBytes()

    const kills = await churn(t, proxy, files, SECONDS)

    await proxy.assertHealthy()
    t.strictSame(
      await proxy.leftDescriptors(before),
      [],
      `after ${kills} kills no more descriptors than the ${before.length} before`,
    )
    const growth = (await proxy.residentBytes()) - memoryBefore
    t.ok(
      growth < MAX_GROWTH_BYTES,
      `${(growth / 1024 / 1024).toFixed(1)} MiB more in memory than before, of ${(memoryBefore / 1024 / 1024).toFixed(0)} MiB`,
    )
    t.notMatch(
      proxy.log(),
      /uncaught|unhandled|TypeError|RangeError|ReferenceError|AssertionError|ERR_INTERNAL/i,
    )
  },
)
