import { fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { AGENT, installPrograms } from '../bench/measures.js'
import { systemClock } from '../process/clock.js'
import { BUILT, startIsolated, type Container, type IsolatedSettings } from '../../test/lab/isolated.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'
const UP = /Discobot is up.*Try next.*\n\n/s
/** A round makes and loses 1,000 orphans; the promise is about a minute of it. */
const CHURN_MS = Number(process.env['DISCOBOT_TEST_CHURN_MS'] ?? 6_000)

/** As the image has it. */
async function startBundled(t: Test, settings: IsolatedSettings): Promise<Container> {
  const container = await startIsolated(t, {
    ...settings,
    command: [process.execPath, AGENT, 'run'],
    prepare: installPrograms(join(BUILT, 'bundle')),
  })
  await container.logged(UP)
  return container
}

void t.before(async () => {
  if (NEEDS_ROOT === false) await execa(process.execPath, ['scripts/bundle.mjs'])
})

void t.test(
  'what the last start made of the configuration is believed until anything that it is made of changes',
  { skip: NEEDS_ROOT },
  async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    const operatorFile = join(dataDir, 'operator.yaml')
    const knownFile = join(dataDir, 'proxy-config.json')
    writeFileSync(operatorFile, 'proxy: { port: 18080 }\n')
    const portOfBoot = async (): Promise<number> => {
      const env = { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY_CONFIG: '/.data/operator.yaml' }
      const container = await startBundled(t, { dataDir, env })
      t.equal(await container.stop(), 0)
      const told = /boot step done.* step=proxy .*port (\d+), API/.exec(container.logs())?.[1]
      const listens = /proxy ready.* port=(\d+)/.exec(container.logs())?.[1]
      t.equal(told, listens, 'agent and proxy agree')
      return Number(listens)
    }
    t.equal(await portOfBoot(), 18080, 'the first')
    const { mode, uid, gid } = statSync(knownFile)
    t.equal(mode & 0o7777, 0o640)
    t.equal(uid, 0)
    t.not(gid, 0, 'for the proxy to read')
    t.equal(await portOfBoot(), 18080, 'a warm one')
    // Nothing but what is known says so now.
    const known = readFileSync(knownFile, 'utf8')
    const forge = (): void => {
      writeFileSync(knownFile, known.replace('"port":18080', '"port":18081'))
    }
    forge()
    t.equal(await portOfBoot(), 18081, 'it is believed')
    chmodSync(knownFile, 0o666)
    t.equal(await portOfBoot(), 18080, 'not what others could have written')
    forge()
    writeFileSync(operatorFile, '# another text\nproxy: { port: 18080 }\n')
    t.equal(await portOfBoot(), 18080, "not of another operator's file")
    writeFileSync(knownFile, readFileSync(knownFile, 'utf8').replace('"port":18080', '"port":18081'))
    const text = join(dataDir, 'proxy/config.yaml')
    writeFileSync(text, readFileSync(text, 'utf8').replace('port: 18080', 'port: 18082'))
    t.equal(await portOfBoot(), 18080, 'not of a text that somebody has changed')
    writeFileSync(
      knownFile,
      known.replace(/"release":"\w+"/, '"release":"0"').replace('"port":18080', '"port":18081'),
    )
    t.equal(await portOfBoot(), 18080, 'not of other programs')
  },
)

function residentKilobytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

void t.test(
  'the memory of process 1 stays below 70 MB and flat while orphans come and go',
  { skip: NEEDS_ROOT },
  async (t) => {
    const container = await startBundled(t, { env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY: 'off' } })
    const churn = (count: number): Promise<unknown> =>
      container.exec(`perl -e 'for (1..${count}) { fork or exit 3 }'`)
    await churn(10_000)
    await systemClock.sleep(2_500)
    const before = residentKilobytes(container.pid)
    const until = performance.now() + CHURN_MS
    let rounds = 0
    while (performance.now() < until) {
      await churn(1_000)
      rounds += 1
    }
    await systemClock.sleep(2_500)
    const after = residentKilobytes(container.pid)
    t.comment(`${before} kB before, ${after} kB after ${rounds} rounds`)
    t.ok(after <= 70 * 1024, `${after} kB`)
    t.ok(after - before < 6_000, `grew by ${after - before} kB in ${rounds} rounds`)
    const { stdout } = await container.exec("ps -e -o stat= | grep -c '^Z' || :")
    t.equal(stdout, '0\n', 'no zombie is left')
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'what programs read late, or start as a process of its own, is in the bundle',
  { skip: NEEDS_ROOT },
  async (t) => {
    const bundle = join(BUILT, 'bundle')
    const call = (program: string, ...args: string[]) =>
      execa(process.execPath, [join(bundle, `${program}.cjs`), ...args], { reject: false })
    t.match(await call('agent', 'help', 'logs'), {
      exitCode: 0,
      stdout: /^Usage: discobot-agent logs \[SERVICE\]/,
    })
    t.match(await call('agent', 'completion', 'bash', '--', 'statu'), {
      exitCode: 0,
      stdout: 'words\nstatus',
    })
    t.match(await call('proxy', 'completion', 'zsh'), { exitCode: 0, stdout: /^#compdef discobot-proxy\n/ })
    t.match(await call('proxy', 'explain', 'CONNECT', 'http://a.test/'), {
      exitCode: 2,
      stderr: /^discobot-proxy: cannot explain CONNECT: .*\n\nUsage: discobot-proxy explain METHOD URL/,
    })
    t.match(await call('agent-api', '--vresion'), {
      exitCode: 2,
      stderr: /did you mean "--version"\?\n\nUsage: /,
    })

    const [code = ''] = readdirSync(bundle).filter((name) => /^proxy\..*\.code\.js$/.test(name))
    const [, asker = ''] =
      /"(packages\/resolver-process\.\w+\.cjs)"/.exec(readFileSync(join(bundle, code), 'utf8')) ?? []
    const child = fork(join(bundle, asker), [], { stdio: 'ignore' })
    t.teardown(() => child.kill('SIGKILL'))
    child.send({ id: 7, host: '127.0.0.1' })
    t.strictSame(await once(child, 'message').then(([reply]: unknown[]) => reply), {
      id: 7,
      addresses: ['127.0.0.1'],
    })
  },
)
