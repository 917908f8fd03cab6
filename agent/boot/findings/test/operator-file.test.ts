import { join } from 'node:path'
import t from 'tap'
import type { Finding } from '../../../cli/doctor/finding.js'
import type { AgentStatus } from '../../../status/status.js'
import { NEEDS_ROOT } from '../../../../test/lab/booted.js'
import { BUILT, startIsolated, type Container } from '../../../../test/lab/isolated.js'

// The operator's file is followed while the container runs, and all who are asked say the same of it.

const AGENT = `'${process.execPath}' '${join(BUILT, 'agent/main.js')}'`
const GOOD = 'allowlist: { enabled: true, domains: [good.test] }'
const BETTER = 'allowlist: { enabled: true, domains: [better.test] }'
const BROKEN = 'allowlist: { enabeld: true }'
const ENV = { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY_CONFIG: '/operator/proxy.yaml' }
const UP = /Discobot is up.*Try next.*\n\n/s

interface Health {
  readonly status: string
  readonly config?: { readonly state: string; readonly problems: readonly { readonly message: string }[] }
}

async function ask(container: Container) {
  const user = { user: 'discobot' }
  const out = async (script: string): Promise<string> => (await container.exec(script, user)).stdout
  return {
    status: JSON.parse(await out(`${AGENT} status --json`)) as AgentStatus,
    health: JSON.parse(await out('curl -sS --noproxy "*" http://127.0.0.1:17081/health')) as Health,
  }
}

async function asksUntil(
  container: Container,
  what: string,
  holds: (said: Awaited<ReturnType<typeof ask>>) => boolean,
): Promise<Awaited<ReturnType<typeof ask>>> {
  const until = performance.now() + 20_000
  for (;;) {
    const said = await ask(container)
    if (holds(said)) return said
    if (performance.now() > until) throw new Error(`waited in vain for ${what}: ${JSON.stringify(said)}`)
  }
}

const isBroken = ({ status, health }: Awaited<ReturnType<typeof ask>>): boolean =>
  status.configuration?.trouble !== undefined && health.status === 'degraded'
const isWell = ({ status, health }: Awaited<ReturnType<typeof ask>>): boolean =>
  status.configuration?.trouble === undefined && health.status === 'ok'

void t.test(
  'a broken save is noticed, told the same by everybody, and over when it is mended',
  { skip: NEEDS_ROOT },
  async (t) => {
    const prepare = `mkdir -p /operator; echo '${GOOD}' > /operator/proxy.yaml; chmod 600 /operator/proxy.yaml\n`
    const container = await startIsolated(t, { prepare, env: ENV })
    await container.logged(UP)
    t.ok(isWell(await ask(container)))

    await container.exec(`echo '${BROKEN}' > /operator/proxy.yaml`)
    const { status, health } = await asksUntil(container, 'the broken file', isBroken)
    const { trouble = '', inForce } = status.configuration ?? {}
    t.equal(inForce, 'previous')
    t.match(
      trouble,
      /^\/operator\/proxy\.yaml:1:\d+: unknown option .*enabeld.*; the last good configuration stays in force/,
    )
    t.strictSame(status.degraded, [`proxy-config: ${trouble}`])
    t.strictSame(health.config, { state: 'rejected', problems: [{ message: trouble }] })
    t.match(
      container.logs(),
      /the operator's file was saved, with problems.*enabeld.*last good configuration/,
    )

    // To the user, who can read neither that file nor the last good one, and has no variables of process 1's.
    for (const command of ['config check', 'doctor']) {
      const { stdout } = await container.exec(`${AGENT} ${command}`, { user: 'discobot' })
      t.match(stdout, /the last good configuration stays in force/, command)
      t.notMatch(stdout, /nothing may be reached/, command)
      t.match(stdout, '/operator/proxy.yaml', command)
    }
    const asRoot = await container.exec(`DISCOBOT_PROXY_CONFIG=/operator/proxy.yaml ${AGENT} config check`)
    t.match(asRoot, { code: 1, stdout: /enabeld.*\n.*last good configuration.*\nlooked at .*proxy\.yaml\n/ })

    await container.exec(`${AGENT} reload`)
    t.ok(isBroken(await ask(container)), 'a reload of the same makes it no better')

    await container.exec(
      `echo '${BETTER}' > /operator/new; chmod 600 /operator/new; mv /operator/new /operator/proxy.yaml`,
    )
    const mended = await asksUntil(container, 'the mended file', isWell)
    t.strictSame(mended.status.degraded, [])
    const { stdout } = await container.exec('cat /.data/proxy/config.yaml')
    t.match(stdout, 'better.test')
    t.match(await container.exec(`${AGENT} config check`, { user: 'discobot' }), {
      code: 0,
      stdout: 'no mistakes in /operator/proxy.yaml\n',
    })
  },
)

void t.test(
  'a file broken at the start opens nothing, and is followed through links that turn',
  { skip: NEEDS_ROOT },
  async (t) => {
    const prepare = `mkdir -p /operator/one /operator/two
echo '${BROKEN}' > /operator/one/proxy.yaml; echo '${GOOD}' > /operator/two/proxy.yaml
ln -s one /operator/data; ln -s data/proxy.yaml /operator/proxy.yaml\n`
    const container = await startIsolated(t, { prepare, env: ENV })
    await container.logged(UP)
    const { status, health } = await ask(container)
    t.equal(status.configuration?.inForce, 'deny-all')
    t.equal(health.status, 'degraded')
    const checked = await container.exec(`${AGENT} doctor --json`, { user: 'discobot' })
    const findings = JSON.parse(checked.stdout) as Finding[]
    t.ok(findings.some(({ check, what }) => check === 'configuration' && /nothing may be reached/.test(what)))
    await container.exec('ln -s two /operator/next && mv -T /operator/next /operator/data')
    const mended = await asksUntil(container, 'the other file', isWell)
    t.equal(mended.status.configuration?.inForce, 'composed')
    t.strictSame(mended.status.degraded, [])
  },
)

void t.test('a mount of one file that was replaced outside is told', { skip: NEEDS_ROOT }, async (t) => {
  const prepare = `mkdir -p /operator /outside; echo '${GOOD}' > /outside/proxy.yaml; : > /operator/proxy.yaml
mount --bind /outside/proxy.yaml /operator/proxy.yaml\n`
  const container = await startIsolated(t, { prepare, env: ENV })
  await container.logged(UP)
  await container.exec(`echo '${BETTER}' > /outside/new; mv /outside/new /outside/proxy.yaml`)
  const { status } = await asksUntil(container, 'the warning', (said) => said.status.degraded.length > 0)
  t.match(status.degraded, [/proxy\.yaml was replaced outside of the container.*mount its folder/])
  await container.exec('umount /operator/proxy.yaml; cp /outside/proxy.yaml /operator/proxy.yaml')
  await asksUntil(container, 'the file itself', (said) => said.status.degraded.length === 0)
})
