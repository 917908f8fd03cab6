import t, { type Test } from 'tap'
import { bootContainer, NEEDS_ROOT, type Booted } from '../../../test/lab/booted.js'
import type { IsolatedSettings } from '../../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { arrived, OUTSIDE_4, PREPARE_OUTSIDE } from './outside.js'

// Level 2: whoever looks up a name asks the proxy, and no name leaves that the policy does not allow.

const POLICY = 'allowlist: { enabled: true, domains: [outside.test] }\n'

async function boot(t: Test, operator: string, settings: IsolatedSettings = {}): Promise<Booted> {
  const certificates = await makeOriginCertificates(t, [], operator)
  return bootContainer(t, certificates, { ...settings, prepare: PREPARE_OUTSIDE + (settings.prepare ?? '') })
}

void t.test('names are looked up by the proxy alone', { skip: NEEDS_ROOT }, async (t) => {
  // As Docker has it in networks with a name: a resolver on loopback that asks others from this very namespace, as root.
  const forwarder = `
import socket, threading
a = socket.socket(2, 2); a.bind(('127.0.0.11', 53)); print('ready', flush=True)
while True:
    q, c = a.recvfrom(999)
    u = socket.socket(2, 2); u.settimeout(2)
    try:
        u.sendto(q, ('${OUTSIDE_4}', 5353)); a.sendto(u.recv(999), c)
    except OSError as e: print(e, flush=True)
`
  const resolver = `
const { createSocket } = require('node:dgram')
const socket = createSocket('udp4')
socket.on('message', (query, from) => {
  const end = query.indexOf(0, 12) + 5
  console.log('ASKED ' + query.subarray(12, end - 5).toString('latin1').replace(/[^a-z0-9-]/g, '.'))
  const head = Buffer.concat([query.subarray(0, 2), Buffer.from([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])])
  const isA = query[end - 3] === 1
  if (!isA) head[7] = 0
  const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 10])
  socket.send(Buffer.concat([head, query.subarray(12, end), ...(isA ? [answer] : [])]), from.port, from.address)
})
socket.bind(5353, '${OUTSIDE_4}')
`
  const { container, tryShell } = await boot(t, 'allowlist: { enabled: true, domains: [allowed.test] }\n', {
    prepare: `rm -f /etc/resolv.conf; printf 'nameserver 127.0.0.11\\noptions timeout:1 attempts:1\\n' > /etc/resolv.conf
printf '%s' '${resolver.replaceAll("'", String.raw`'\''`)}' > /tmp/resolver.cjs
printf '%s' '${forwarder.replaceAll("'", String.raw`'\''`).replaceAll('5353', '53')}' > /tmp/forwarder.py
sed -i 's/5353/5300/' /tmp/resolver.cjs
ip netns exec outside nft 'table ip moved { chain pre { type nat hook prerouting priority -100; udp dport 53 redirect to :5300; }; }'
ip netns exec outside '${process.execPath}' /tmp/resolver.cjs > /tmp/asked &
python3 /tmp/forwarder.py &
`,
  })
  t.match((await tryShell('curl -sS -m 5 http://allowed.test/')).stdout, /OUTSIDE/, "by the proxy's look-up")
  const lookUp = (name: string): string => `getent ahosts ${name}`
  const others = {
    'the user': tryShell,
    root: (script: string) => container.exec(script),
    'a nested container': (script: string) =>
      // It has a server of its own, outside.
      container.exec(
        `ip netns exec nested unshare --mount sh -c 'echo nameserver ${OUTSIDE_4} > /tmp/resolv; mount --bind /tmp/resolv /etc/resolv.conf; exec ${script}'`,
      ),
  }
  for (const [who, run] of Object.entries(others)) {
    const name = who.replaceAll(' ', '-')
    t.not((await run(lookUp(`${name}.leak.test`))).code, 0, `${who} learns no name that is not allowed`)
    t.match((await run(lookUp('allowed.test'))).stdout, /203\.0\.113\.10/, `${who} learns one that is`)
  }
  t.match(
    (await tryShell(`RES_OPTIONS=use-vc ${lookUp('allowed.test')}`)).stdout,
    /203\.0\.113\.10/,
    'over TCP',
  )
  await tryShell('curl -sS -m 5 http://blocked.leak.test/')
  const { stdout } = await container.exec('cat /tmp/asked')
  t.match(stdout, /ASKED .*allowed.test/)
  t.strictSame([...new Set(stdout.match(/ASKED .*/g))], ['ASKED .allowed.test'])
})

void t.test('names are refused where the operator says so', { skip: NEEDS_ROOT }, async (t) => {
  const { container, tryShell } = await boot(t, `${POLICY}egress: { dns: refuse }\n`, {
    prepare: `rm -f /etc/resolv.conf; echo nameserver ${OUTSIDE_4} > /etc/resolv.conf\n`,
  })
  t.not((await tryShell('python3 -c "import socket; socket.getaddrinfo(\'other.test\', 80)"')).code, 0)
  t.equal(await arrived(container), 0)
  await container.logged(/packet filter has refused .*to="?203\.0\.113\.10:53/)
})
