import type { Container } from '../../../test/lab/isolated.js'

/** Who answers there, with the word OUTSIDE: HTTP on port 80, and what listens for UDP. */
export const OUTSIDE_4 = '203.0.113.10'
export const OUTSIDE_6 = '2001:db8::10'

const SERVER = `
import { createServer } from 'node:http'
import { createSocket } from 'node:dgram'
for (const host of ['${OUTSIDE_4}', '${OUTSIDE_6}']) {
  createServer((request, response) => response.end('OUTSIDE')).listen(80, host)
  for (const port of [53, 123, 443]) {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    socket.on('message', (_, from) => socket.send('OUTSIDE', from.port, from.address))
    socket.bind(port, host)
  }
}
`

/** Run inside by any account: a line for each way, with what came of it. */
const WAYS_OUT = `
import os, socket as S
V4, V6 = '${OUTSIDE_4}', '${OUTSIDE_6}'
REQUEST = b'GET / HTTP/1.0\\r\\n\\r\\n'
ECHO, ECHO6 = bytes.fromhex('0800f7fd00010001'), bytes.fromhex('8000000000010001')

def curl(url, *words):
    def go():
        with os.popen("curl -sSg -m 2 %s '%s' 2>&1" % (' '.join(words), url)) as out: return out.read()
    return go

def tcp(family, host):
    def go():
        s = S.socket(family); s.settimeout(1); s.connect((host, 80)); s.send(REQUEST); return s.recv(999)
    return go

def fast_open():
    s = S.socket(); s.settimeout(1); s.sendto(REQUEST, S.MSG_FASTOPEN, (V4, 80)); return s.recv(999)

def udp(family, host, port, size=1, option=None):
    def go():
        s = S.socket(family, S.SOCK_DGRAM); s.settimeout(1)
        if option: s.setsockopt(*option)
        s.sendto(b'x' * size, (host, port)); return s.recv(9)
    return go

def raw(family, kind, protocol, host, packet, answered):
    def go():
        s = S.socket(family, kind, protocol); s.settimeout(1); s.sendto(packet, (host, 0))
        return 'OUTSIDE' if answered(s.recv(99)) else 'refused'
    return go

def dccp():
    s = S.socket(S.AF_INET, 6, 33); s.settimeout(1); s.connect((V4, 80)); return 'OUTSIDE'

WAYS = {
    '--noproxy': curl('http://%s/' % V4, "--noproxy '*'"),
    '--noproxy over IPv6': curl('http://[%s]/' % V6, "--noproxy '*'"),
    'no variables': lambda: os.popen('env -i curl -sS -m 2 http://outside.test/ 2>&1').read(),
    'TCP': tcp(S.AF_INET, V4),
    'TCP over IPv6': tcp(S.AF_INET6, V6),
    'TCP to a mapped address': tcp(S.AF_INET6, '::ffff:' + V4),
    'TCP fast open': fast_open,
    **{'UDP %d' % port: udp(S.AF_INET, V4, port) for port in (53, 123, 443)},
    **{'UDP %d over IPv6' % port: udp(S.AF_INET6, V6, port) for port in (53, 123, 443)},
    'UDP in fragments': udp(S.AF_INET, V4, 53, 9000),
    'UDP with an extension header': udp(S.AF_INET6, V6, 53, 1, (41, 59, bytes.fromhex('0000010400000000'))),
    'an echo socket': raw(S.AF_INET, S.SOCK_DGRAM, 1, V4, ECHO, lambda got: got[0] == 0),
    'raw ICMP': raw(S.AF_INET, S.SOCK_RAW, 1, V4, ECHO, lambda got: got[20] == 0),
    'raw ICMPv6': raw(S.AF_INET6, S.SOCK_RAW, 58, V6, ECHO6, lambda got: got[0] == 129),
    'raw, of another protocol': raw(S.AF_INET, S.SOCK_RAW, 99, V4, b'x', lambda got: False),
    'DCCP': dccp,
}
for way, go in WAYS.items():
    try: came = str(go()).strip()
    except OSError as error: came = str(error)
    print('%s: %s' % (way, came.replace('\\n', ' ')), flush=True)
`

/**
 * Shell text that makes a network outside of the container and another one inside, behind a bridge called as Docker's,
 * with a neighbour in it as a nested container would be. Outside, all packets are counted that come in, but for those
 * by which neighbours find each other.
 */
export const PREPARE_OUTSIDE = `
mkdir -p /run/netns
ip netns add outside
ip link add eth0 type veth peer name far
ip link set far netns outside
ip addr add 203.0.113.1/24 dev eth0
ip addr add 2001:db8::1/64 dev eth0 nodad
ip link set eth0 up
ip netns exec outside sh -ec '
ip link set lo up
ip addr add ${OUTSIDE_4}/24 dev far
ip addr add ${OUTSIDE_6}/64 dev far nodad
ip link set far up
ip route add 172.17.0.0/16 via 203.0.113.1
ip -6 route add fd17::/64 via 2001:db8::1
nft "table inet seen { counter arrived {} ; chain input { type filter hook input priority 0; iifname lo accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept; counter name arrived; }; }"
'
ip route add default via ${OUTSIDE_4}
ip -6 route add default via ${OUTSIDE_6}
ip netns add nested
ip link add docker0 type bridge
ip addr add 172.17.0.1/16 dev docker0
ip addr add fd17::1/64 dev docker0 nodad
ip link set docker0 up
ip link add veth0 type veth peer name inner
ip link set veth0 master docker0 up
ip link set inner netns nested
ip netns exec nested sh -ec '
ip link set lo up
ip addr add 172.17.0.2/16 dev inner
ip addr add fd17::2/64 dev inner nodad
ip link set inner up
ip route add default via 172.17.0.1
ip -6 route add default via fd17::1
'
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo "${OUTSIDE_4} outside.test elsewhere.test" >> /etc/hosts
cat > /tmp/outside.mjs <<'JS'
${SERVER}
JS
cat > /tmp/ways-out.py <<'PY'
${WAYS_OUT}
PY
ip netns exec outside '${process.execPath}' /tmp/outside.mjs &
until ip netns exec outside curl -s http://${OUTSIDE_4}/ && ip netns exec outside curl -sg 'http://[${OUTSIDE_6}]/'; do :; done
`

/** The shortest way. */
export const AROUND = `curl -sS -m 2 --noproxy '*' http://${OUTSIDE_4}/`

/** How many packets have come in outside, by its own count. */
export async function arrived(container: Container): Promise<number> {
  const { stdout } = await container.exec('ip netns exec outside nft list counter inet seen arrived')
  const [, packets] = /packets (\d+)/.exec(stdout) ?? []
  if (packets === undefined) throw new Error(`no count: ${stdout}`)
  return Number(packets)
}

/** What came of each way; OUTSIDE is among it where something got out, and came back. */
export async function tryWaysOut(run: (script: string) => Promise<{ stdout: string }>): Promise<string[]> {
  const { stdout } = await run('python3 /tmp/ways-out.py')
  const ways = stdout.trim().split('\n')
  if (ways.length !== 20) throw new Error(`not all ways were tried:\n${stdout}`)
  return ways
}
