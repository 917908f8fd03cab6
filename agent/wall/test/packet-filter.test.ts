import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bootContainer, NEEDS_ROOT, type Booted } from '../../../test/lab/booted.js'
import { BUILT, type IsolatedSettings } from '../../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { arrived, AROUND, OUTSIDE_4, OUTSIDE_6, PREPARE_OUTSIDE, tryWaysOut } from './outside.js'

// Level 2: nothing leaves the container but by the proxy. Counted outside, packet by packet.

const POLICY = 'allowlist: { enabled: true, domains: [outside.test] }\n'
const AGENT = `'${process.execPath}' '${join(BUILT, 'agent/main.js')}'`
const IN_NESTED = 'ip netns exec nested'

async function boot(t: Test, operator: string, settings: IsolatedSettings = {}): Promise<Booted> {
  const certificates = await makeOriginCertificates(t, [], operator)
  return bootContainer(t, certificates, { ...settings, prepare: PREPARE_OUTSIDE + (settings.prepare ?? '') })
}

/** By all ways, as the workspace's user, as root, and from a nested container: none has a packet arrive. */
async function expectClosed(t: Test, { container, tryShell }: Booted): Promise<void> {
  const whose = {
    'the user': tryShell,
    root: (script: string) => container.exec(script),
    'a nested container': (script: string) => container.exec(`ip netns exec nested ${script}`),
  }
  for (const [who, run] of Object.entries(whose))
    for (const way of await tryWaysOut(run)) t.notMatch(way, /OUTSIDE/, `${who}, by ${way}`)
  t.equal(await arrived(container), 0, 'no packet has come')
}

async function expectOpen(t: Test, { tryShell }: Booted, why: string): Promise<void> {
  t.match((await tryShell('curl -sS -m 5 http://outside.test/')).stdout, /OUTSIDE/, why)
}

void t.test('nothing leaves but by the proxy, whoever tries', { skip: NEEDS_ROOT }, async (t) => {
  const booted = await boot(t, POLICY)
  const { container, shell, status } = booted
  t.match(container.logs(), /step=wall .*only the proxy leaves, by nftables/)

  await expectClosed(t, booted)
  await expectOpen(t, booted, 'by the proxy it goes on')

  await t.test('what is refused is refused at once', async (t) => {
    for (const script of [
      `curl -sS -m 20 --noproxy '*' http://${OUTSIDE_4}/`,
      `curl -sSg -m 20 --noproxy '*' 'http://[${OUTSIDE_6}]/'`,
    ]) {
      for (const { code, stderr } of [
        await booted.tryShell(script),
        await container.exec(`${IN_NESTED} ${script}`),
      ]) {
        t.equal(code, 7, stderr)
        t.notMatch(stderr, /timed out/)
      }
    }
  })

  await t.test('what stays inside goes on', async (t) => {
    const serve = `'${process.execPath}' -e 'require("http").createServer((q, r) => r.end("INSIDE")).listen(8123, "::")'`
    container.spawnInside(['sh', '-c', serve], { user: 'discobot' })
    const ask = (host: string): string => `curl -sSg -m 5 --noproxy '*' 'http://${host}:8123/'`
    await container.exec(`until ${ask('127.0.0.1')}; do :; done`)
    for (const host of ['127.0.0.1', '[::1]', '203.0.113.1', '172.17.0.1'])
      t.match(await shell(ask(host)), /INSIDE/, host)
    t.match((await container.exec(`ip netns exec outside ${ask('203.0.113.1')}`)).stdout, /INSIDE/)
    t.match((await container.exec(`ip netns exec outside ${ask('[2001:db8::1]')}`)).stdout, /INSIDE/)
    t.match((await container.exec(`${IN_NESTED} ${ask('172.17.0.1')}`)).stdout, /INSIDE/)

    const nested = serve.replace('INSIDE', 'NESTED')
    container.spawnInside(['ip', 'netns', 'exec', 'nested', 'sh', '-c', nested])
    await container.exec(`until ${IN_NESTED} ${ask('127.0.0.1')}; do :; done`)
    t.match(await shell(ask('172.17.0.2')), /NESTED/, 'the user reaches nested containers')
    t.match((await container.exec(`ip netns exec outside ${ask('172.17.0.2')}`)).stdout, /NESTED/)
  })

  await t.test('a nested container reaches none of our services but the proxy', async (t) => {
    const listen = (port: number): string =>
      `'${process.execPath}' -e 'require("net").createServer((s) => s.end("OURS")).listen(${port}, "172.17.0.1")'`
    for (const port of [3002, 17081]) container.spawnInside(['sh', '-c', listen(port)])
    const ask = (port: number): string => `curl -s -m 5 --http0.9 --noproxy '*' http://172.17.0.1:${port}/`
    await container.exec(`until ${ask(3002)} && ${ask(17081)}; do :; done`)
    for (const port of [3002, 17081])
      t.equal((await container.exec(`${IN_NESTED} ${ask(port)}`)).code, 7, String(port))
  })

  await t.test('it is told, and recorded', async (t) => {
    const { wall, degraded } = await status()
    t.match(wall, { level: 2, name: 'enforced' })
    t.strictSame(
      wall?.promises.flatMap(({ id, holds }) => (holds ? [] : [id])),
      ['root-contained'],
    )
    t.strictSame(degraded, [])
    t.match(await shell(`${AGENT} status`), /^wall +level 2, enforced$/m)
    t.notMatch(container.logs(), /egress is voluntary/)
    await container.logged(
      /packet filter has refused .*user=discobot.* to="?203\.0\.113\.10:80"?.* protocol=tcp/,
    )
    await container.logged(
      /packet filter has refused .*user=root.* to="?\[2001:db8::10\]:123"?.* protocol=udp/,
    )
    await container.logged(/packet filter has refused .*from="?172\.17\.0\.2"? .*protocol=udp/)
    await container.logged(/packet filter has refused .*places that are not recorded/)
  })

  await t.test('it outlives the proxy', async (t) => {
    await container.exec(`${AGENT} stop proxy`)
    t.notMatch((await booted.tryShell(AROUND)).stdout, /OUTSIDE/)
    await container.exec(`${AGENT} start proxy`)
    await expectOpen(t, booted, 'a proxy that was started again leaves')
    await container.exec(`${AGENT} restart proxy`)
    await expectOpen(t, booted, 'and again')
    await container.exec('kill -HUP 1')
    await container.logged(/configuration read again/)
    await expectOpen(t, booted, 'after a reload, too')
    t.notMatch((await booted.tryShell(AROUND)).stdout, /OUTSIDE/)
  })
})

void t.test('it stays to the end of the stop', { skip: NEEDS_ROOT }, async (t) => {
  const command = `trap 'curl -sS -m 2 --noproxy "*" http://${OUTSIDE_4}/ > /.data/late 2>&1; echo tried >> /.data/late; exit 0' TERM; echo waiting; while :; do sleep 0.1; done`
  const { container } = await boot(t, POLICY, {
    env: { DISCOBOT_AGENT_COMMAND: '/tmp/late' },
    prepare: `printf '%s\\n' '#!/bin/sh' '${command.replaceAll("'", String.raw`'\''`)}' > /tmp/late; chmod 755 /tmp/late; touch /.data/late; chmod 666 /.data/late\n`,
  })
  await container.logged(/waiting/)
  t.equal(await container.stop(), 0)
  const said = readFileSync(join(container.dataDir, 'late'), 'utf8')
  t.match(said, /tried/)
  t.notMatch(said, /OUTSIDE/)
})

void t.test('iptables does the same where there is no nft', { skip: NEEDS_ROOT }, async (t) => {
  const booted = await boot(t, 'egress: { enforce: true }\n', {
    // The counters outside still need it.
    prepare: 'mv /usr/sbin/nft /usr/local/bin/nft\n',
  })
  const { container } = booted
  t.match(container.logs(), /step=wall .*only the proxy leaves, by iptables/)
  // As dockerd does it: before all that is there already, and behind the chain that it leaves to others.
  await container.exec(
    'for ip in iptables ip6tables; do $ip -I FORWARD -i docker0 ! -o docker0 -j ACCEPT; $ip -I FORWARD -j DOCKER-USER; done',
  )
  await expectClosed(t, booted)
  await container.exec('for ip in iptables ip6tables; do $ip -D FORWARD -j DOCKER-USER; done')
  await expectClosed(t, booted)
  await expectOpen(t, booted, 'by the proxy it goes on')
  t.match((await booted.status()).wall, { level: 2, name: 'enforced' })
  await container.logged(/packet filter has refused .*packets=/)
})
