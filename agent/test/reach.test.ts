import { join } from 'node:path'
import t from 'tap'
import { bootContainer, NEEDS_ROOT, type Booted } from '../../test/lab/booted.js'
import { BUILT } from '../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../test/lab/origins/origin-certificates.js'

// Who comes to the proxy over a network reaches what the proxy may reach, and nothing that listens in the container.

const GUEST = '10.77.0.2'
const HERE = '10.77.0.1'

/** A neighbour on a network of its own, servers on both sides, and names for them. */
const PREPARE = `
mkdir -p /run/netns
ip netns add guest
ip link add v0 type veth peer name v1
ip link set v1 netns guest
ip addr add ${HERE}/24 dev v0
ip addr add fd77::1/64 dev v0 nodad
ip link set v0 up
ip netns exec guest ip link set lo up
ip netns exec guest ip addr add ${GUEST}/24 dev v1
ip netns exec guest ip link set v1 up
ip link add w0 type veth peer name w1
ip addr add 10.66.0.1/24 dev w0
cat >> /etc/hosts <<'HOSTS'
127.0.0.1 inner.test two.test
${HERE} here.test
${GUEST} two.test outer.test
HOSTS
cat > /tmp/origin.mjs <<'JS'
import { createServer } from 'node:http'
const [text, ...places] = process.argv.slice(2)
for (const place of places) {
  const [, host, port] = /^(.*):(\\d+)$/.exec(place)
  const server = createServer((request, response) => response.end(text))
  server.on('upgrade', (request, socket) => socket.end('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n' + text))
  server.listen(Number(port), host)
}
JS
${process.execPath} /tmp/origin.mjs inner 0.0.0.0:8000 ::1:8000 127.0.0.1:9000 &
ip netns exec guest ${process.execPath} /tmp/origin.mjs outer ${GUEST}:8000 ${GUEST}:3002 &
`

const OPERATOR = `proxy: { host: [127.0.0.1, ${HERE}] }
egress: { own_ports: [9000, 3002] }
blocklist: { domains: [blocked.test] }
`

/** All lead to this machine, by themselves or by their names. */
const OURS = [
  ...['127.0.0.1', '127.9.9.9', '0x7f.1', '2130706433', 'localhost', 'LOCALHOST.', 'inner.test', 'here.test'],
  ...[HERE, '10.66.0.1', '[::1]', '[fd77::1]', '[::ffff:127.0.0.1]', `[::ffff:${HERE}]`, '[::127.0.0.1]'],
  ...['[64:ff9b::127.0.0.1]', '[64:ff9b::a4d:1]', '[64:ff9b:1::7f00:1]', '[64:ff9b:1:7f00:0:100::]'],
  ...['[2002:7f00:1::]', '[fd00::5efe:127.0.0.1]'],
]

const WAYS: Readonly<Record<string, string>> = {
  'absolute URI': '-x http://PROXY',
  CONNECT: '-p -x http://PROXY',
  SOCKS5: '-x socks5h://PROXY',
  upgrade: "-x http://PROXY -H 'Connection: Upgrade' -H 'Upgrade: x'",
}

type Ask = (way: string, url: string) => Promise<string>

/** The status, or 403 where SOCKS5 said the same in its own words, and what came. */
function asking({ container }: Booted, prefix: string, proxy: string): Ask {
  return async (way, url) => {
    const form = (WAYS[way] ?? '').replace('PROXY', proxy)
    const curl = `curl -sS -g -m 10 --noproxy '' -w '\\n%{http_code}' ${form} '${url}'`
    const { stdout, stderr } = await container.exec(`${prefix} ${curl}`)
    const [, reply] = /SOCKS5 .*\((\d)\)/.exec(stderr) ?? []
    return reply === '2' ? '403 by SOCKS' : `${stdout.trim().split('\n').at(-1)} ${stdout}`
  }
}

void t.test(
  'what listens in the container is out of reach from elsewhere',
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(t, [], OPERATOR)
    const booted = await bootContainer(t, certificates, { prepare: PREPARE })
    const { container } = booted
    await container.exec(
      `until curl -s 127.0.0.1:8000 && ip netns exec guest curl -s ${GUEST}:8000; do :; done`,
    )
    const elsewhere = asking(booted, 'ip netns exec guest', `${HERE}:17080`)
    const loopback = asking(booted, '', '127.0.0.1:17080')

    for (const way of Object.keys(WAYS)) {
      t.match(
        await elsewhere(way, `http://outer.test:8000/`),
        /outer/,
        `${way}: what is elsewhere is reached`,
      )
      t.match(await loopback(way, `http://inner.test:8000/`), /inner/, `${way}: so is this machine from here`)
    }
    for (const host of OURS) {
      for (const way of Object.keys(WAYS))
        t.match(await elsewhere(way, `http://${host}:8000/`), /^403 /, `${way}: ${host} from elsewhere`)
    }
    t.match(await elsewhere('absolute URI', 'http://127.0.0.1:8000/'), /egress\.own_ports/, 'it says why')
    t.match(
      await elsewhere('absolute URI', 'http://127.0.0.1:9000/'),
      /^200 inner/,
      'unless the operator opens it',
    )

    await t.test('an address that comes later is ours from then on', async (t) => {
      t.notMatch(await elsewhere('absolute URI', 'http://10.88.0.1:8000/'), /^403 /)
      await container.exec('ip addr add 10.88.0.1/32 dev lo')
      t.match(await elsewhere('absolute URI', 'http://10.88.0.1:8000/'), /^403 /)
      await container.exec('ip route add local 10.89.0.0/16 dev lo')
      t.match(
        await elsewhere('absolute URI', 'http://10.89.1.2:8000/'),
        /^403 /,
        'so is a block routed to us',
      )
    })

    await t.test(
      'what is kept of this machine is not shown elsewhere, nor are connections shared',
      async (t) => {
        const kept = 'http://inner.test:8000/pool/a_1.deb'
        await loopback('absolute URI', kept)
        const { stdout } = await container.exec(`curl -s -o /dev/null -D - -x http://127.0.0.1:17080 ${kept}`)
        t.match(stdout, /X-Cache: HIT/i, 'it is kept')
        t.match(await elsewhere('absolute URI', kept), /^403 /)
        t.match(
          await loopback('absolute URI', 'http://two.test:8000/'),
          /inner/,
          'the first of two addresses',
        )
        t.match(await elsewhere('absolute URI', 'http://two.test:8000/'), /outer/, 'the other one')
      },
    )

    await t.test('services of Discobot are out of reach for all', async (t) => {
      for (const ask of [elsewhere, loopback]) {
        for (const port of [3002, 17080, 17081]) {
          for (const host of ['127.0.0.1', 'localhost', 'inner.test', HERE, '10.66.0.1', '[64:ff9b::7f00:1]'])
            for (const way of Object.keys(WAYS))
              t.match(await ask(way, `http://${host}:${port}/health`), /^403 /)
        }
      }
      t.match(
        await loopback('absolute URI', 'http://127.0.0.1:3002/health'),
        /is this proxy itself, or another service of Discobot/,
      )
      t.match(await loopback('absolute URI', 'http://outer.test:3002/'), /outer/, 'the port elsewhere is not')
    })

    await t.test(
      "explain asks the proxy that runs, as the workspace's user, who may not read its file",
      async (t) => {
        const explain = `'${process.execPath}' '${join(BUILT, 'proxy/main.js')}' explain GET`
        const blocked = await booted.tryShell(`${explain} http://blocked.test/`)
        t.equal(blocked.code, 3, blocked.stderr)
        t.match(blocked.stdout, /blocked: blocklist\.domains has "blocked\.test"/)
        t.ok(blocked.stdout.includes(`at ${certificates.operatorFile}:`), blocked.stdout)
        t.match(await booted.tryShell(`${explain} http://inner.test:3002/`), {
          code: 3,
          stdout: /service of Discobot/,
        })
        t.match(await booted.tryShell(`${explain} http://inner.test:8000/`), { code: 0 })
      },
    )
  },
)
