import { appendFileSync, existsSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bootContainer, NEEDS_ROOT, type Booted } from '../../../test/lab/booted.js'
import { BUILT, startIsolated, type IsolatedSettings } from '../../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { AROUND, PREPARE_OUTSIDE } from './outside.js'

// When there is a packet filter, and what becomes of a container that cannot have one.

const POLICY = 'allowlist: { enabled: true, domains: [outside.test] }\n'

async function boot(t: Test, operator: string, settings: IsolatedSettings = {}): Promise<Booted> {
  const certificates = await makeOriginCertificates(t, [], operator)
  return bootContainer(t, certificates, { ...settings, prepare: PREPARE_OUTSIDE + (settings.prepare ?? '') })
}

/** Of `setpriv`, which becomes the agent. */
const WITHOUT_NET_ADMIN = ['setpriv', '--bounding-set', '-net_admin', '--inh-caps', '-net_admin'] as const
const RUN = [process.execPath, join(BUILT, 'agent/main.js'), 'run'] as const

void t.test(
  'where it cannot be had, who asked for it does not run without',
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(t, [], 'egress: { enforce: true }\n')
    const start = (settings: IsolatedSettings): ReturnType<typeof startIsolated> =>
      startIsolated(t, {
        ...settings,
        env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY_CONFIG: certificates.operatorFile, ...settings.env },
        readOnly: [certificates.folder],
      })
    const cases: Readonly<Record<string, readonly [IsolatedSettings, RegExp]>> = {
      'no capability': [
        { command: [...WITHOUT_NET_ADMIN, ...RUN] },
        /cannot enforce egress: CAP_NET_ADMIN is missing; run the container with --cap-add NET_ADMIN/,
      ],
      'no program': [
        { prepare: 'rm -f /usr/sbin/nft /usr/sbin/*tables*\n' },
        /cannot enforce egress: neither nft nor iptables is installed; install nftables in the image/,
      ],
      'programs that fail': [
        {
          prepare:
            'for f in /usr/sbin/nft /usr/sbin/*tables*; do rm -f $f; printf "#!/bin/sh\\necho Operation not supported >&2; exit 1\\n" > $f; chmod 755 $f; done\n',
        },
        /cannot enforce egress: the kernel takes no rules \(nft: Operation not supported, iptables: /,
      ],
      'the other family fails': [
        {
          prepare:
            'rm -f /usr/sbin/nft; for f in /usr/sbin/ip6tables*-restore; do rm -f $f; printf "#!/bin/sh\\necho no IPv6 >&2; exit 1\\n" > $f; chmod 755 $f; done\n',
        },
        /cannot enforce egress: the kernel takes no rules \(iptables: no IPv6/,
      ],
      'no proxy': [
        { env: { DISCOBOT_PROXY: 'off', DISCOBOT_EGRESS: 'enforced' } },
        /cannot enforce egress: DISCOBOT_PROXY is \\*"off/,
      ],
      'a word that is none': [
        { env: { DISCOBOT_EGRESS: 'yes' }, command: [...WITHOUT_NET_ADMIN, ...RUN] },
        /cannot enforce egress: CAP_NET_ADMIN is missing/,
      ],
    }
    for (const [name, [settings, complaint]] of Object.entries(cases)) {
      const container = await start(settings)
      t.equal(await container.exited, 1, name)
      t.match(container.logs(), complaint, name)
      t.notMatch(
        container.logs(),
        /agent API ready|Discobot is up|profile\.d/,
        `${name}: nobody was told of the proxy`,
      )
    }
  },
)

void t.test('auto goes without it, and says why', { skip: NEEDS_ROOT }, async (t) => {
  const booted = await boot(t, POLICY, { command: [...WITHOUT_NET_ADMIN, ...RUN] })
  t.match((await booted.tryShell(AROUND)).stdout, /OUTSIDE/, 'the way around is open')
  const { wall } = await booted.status()
  t.match(wall, { level: 1, name: 'cooperative' })
  t.match(
    wall?.promises.find(({ id }) => id === 'no-way-around'),
    {
      holds: false,
      because: /egress is voluntary: .*\(CAP_NET_ADMIN is missing\)/,
      remedy: 'run the container with --cap-add NET_ADMIN',
    },
  )
  t.match(
    booted.container.logs(),
    /the policy holds for who uses the proxy, since egress is voluntary.*CAP_NET_ADMIN is missing.*--cap-add NET_ADMIN/,
  )
  t.match(booted.container.logs(), /step=wall .*egress is voluntary: CAP_NET_ADMIN is missing/)
})

void t.test('a policy that comes later is enforced from then on', { skip: NEEDS_ROOT }, async (t) => {
  const certificates = await makeOriginCertificates(t, [])
  const booted = await bootContainer(t, certificates, { prepare: PREPARE_OUTSIDE })
  const { container } = booted
  t.match((await booted.tryShell(AROUND)).stdout, /OUTSIDE/)
  t.match((await booted.status()).wall, { level: 1 })
  appendFileSync(certificates.operatorFile, POLICY)
  await container.exec('kill -HUP 1')
  await container.logged(/configuration read again/)
  t.match((await booted.status()).wall, { level: 2, name: 'enforced' })
  t.notMatch((await booted.tryShell(AROUND)).stdout, /OUTSIDE/)
  t.match((await booted.tryShell('curl -sS -m 5 http://outside.test/')).stdout, /OUTSIDE/)
})

void t.test('a network that is not its own is left alone', { skip: NEEDS_ROOT }, async (t) => {
  const module = join(BUILT, 'agent/wall/own-network.js')
  const look = `'${process.execPath}' --input-type=module -e 'console.log((await import("${module}")).sharedNetwork())'`
  const listen = (place: string): string =>
    `'${process.execPath}' -e 'require("net").createServer().listen(${place}, () => console.log("listens"))'`
  const inNetwork = (script: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const child = spawn('unshare', ['--net', 'bash', '-ec', `ip link set lo up; ${script}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let said = ''
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => (said += chunk))
      child.once('error', reject)
      child.once('close', () => resolve(said.trim()))
    })
  const beside = (place: string): Promise<string> =>
    inNetwork(`exec 3< <(${listen(place)}); pid=$!; read -r -u 3 _; ${look}; kill $pid`)
  t.equal(await inNetwork(look), 'undefined', 'one of its own')
  t.match(await beside('8080, "127.0.0.1"'), /somebody else listens on TCP port 8080/)
  t.match(await beside('8081, "::"'), /somebody else listens on TCP port 8081/)
  t.match(await beside('"\\0somebody"'), /somebody else listens on @somebody/)
  t.equal(await beside('53, "127.0.0.11"'), 'undefined', "but for Docker's resolver")
  const child = `const { spawn } = await import("node:child_process")
const listener = spawn(process.execPath, ["-e", "require(\\"net\\").createServer().listen(8082, () => console.log(1))"])
await new Promise((done) => listener.stdout.once("data", done))
console.log((await import("${module}")).sharedNetwork())
listener.kill()`
  t.equal(
    await inNetwork(`'${process.execPath}' --input-type=module -e '${child}'`),
    'undefined',
    'nor is a child of its own a stranger',
  )
  // The first namespace of all, wherever the test is in it.
  if (existsSync('/proc/sys/net/core/dev_weight')) {
    const { sharedNetwork } = await import('../own-network.js')
    t.match(sharedNetwork(), /the network is the machine's own/)
  }
})
