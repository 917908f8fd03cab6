import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import { startProxy, type TestProxy, type TestProxyOptions } from '../../../test/lab/harness.js'
import { WAYS, enter, isSecure, type Way } from './ways.js'
import { Witness } from './witness.js'

// However a place is written, and whichever way it is asked for, it is judged as the place it is.

/** SOCKS5 reply codes (RFC 1928, 6) → the status that says the same in HTTP. */
const STATUS_OF_REPLY: Readonly<Record<number, number>> = { 1: 400, 2: 403, 4: 502, 5: 502 }

const utf8 = (text: string): string => Buffer.from(text).toString('latin1')

/** What a client is told that asks for `/` at `host:port`, on whatever level it is told. */
async function told(t: Test, proxy: TestProxy, way: Way, host: string, port: number): Promise<number> {
  const at = `${host}:${port}`
  const entry = await enter(t, proxy, way, at, { serverName: false })
  const { refused } = entry
  if (refused === 'cut') return 0
  if (refused !== undefined)
    return 'reply' in refused ? (STATUS_OF_REPLY[refused.reply] ?? -1) : refused.status
  entry.conversation.send(
    `GET ${way === 'plain' ? `http://${at}` : ''}/ HTTP/1.1\r\nHost: ${at}\r\nConnection: close\r\n\r\n`,
  )
  const answer = await entry.conversation.answer()
  return answer === 'cut' ? 0 : answer.status
}

async function all(
  t: Test,
  options: TestProxyOptions,
  hosts: readonly string[],
  status: number,
  portOf: (proxy: TestProxy, witness: Witness, way: Way) => number,
  ways: readonly Way[] = WAYS,
): Promise<void> {
  const proxy = await startProxy(t, options)
  const witness = await Witness.start(t, proxy.originAuthority)
  for (const host of hosts) {
    for (const way of ways) {
      const got = await told(t, proxy, way, host, portOf(proxy, witness, way))
      t.equal(got, status, `${JSON.stringify(host)}, ${way}`)
    }
  }
  const seen = await witness.taken()
  t.equal(
    seen.length,
    status === 200 ? hosts.length * ways.length : 0,
    'nothing reaches the origin otherwise',
  )
}

const originPort = (_proxy: TestProxy, witness: Witness, way: Way): number =>
  isSecure(way) ? witness.httpsPort : witness.httpPort

const LOOPBACK = [
  '127.0.0.1',
  '127.1',
  '127.0.1',
  '127.0.0.1.',
  '0x7f.1',
  '0x7f000001',
  '0X7F.0x0.0x0.0x1',
  '0177.0.0.1',
  '017700000001',
  '2130706433',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f00:1]',
  '[::FFFF:7F00:0001]',
  '[0:0:0:0:0:ffff:7f00:1]',
]

t.test('every spelling of loopback is loopback: served where it may be', (t) =>
  all(t, {}, [...LOOPBACK, 'localhost', 'LOCALHOST', 'localhost.'], 200, originPort),
)

t.test('and refused where private addresses are denied, with every notation that leads there', (t) =>
  all(
    t,
    { egress: { private: 'deny' } },
    [
      ...LOOPBACK,
      'localhost',
      'origin.test',
      '127.255.255.254',
      '[::1]',
      '[::127.0.0.1]',
      '[64:ff9b::127.0.0.1]',
      '[64:ff9b::7f00:1]',
      '[64:ff9b:1::7f00:1]',
      '[2002:7f00:1::]',
      '[::ffff:0:127.0.0.1]',
      '10.1',
      '0xa.0.0.1',
      '172.16.1',
      '192.168.257',
      '3232235777',
      '[fc00::1]',
      '[::ffff:10.0.0.1]',
      '[64:ff9b::a00:1]',
    ],
    403,
    originPort,
  ),
)

t.test('digits of other alphabets are digits where a name may have them, in SOCKS', async (t) => {
  const spellings = ['①②⑦.⓪.⓪.①', '１２７。０。０。１', '𝟏𝟐𝟕.𝟎.𝟎.𝟏'].map(utf8)
  const own = (proxy: TestProxy): number => proxy.port
  await all(t, {}, spellings, 403, own, ['SOCKS', 'TLS in SOCKS'])
  await all(t, {}, [utf8('①⑥⑨.②⑤④.①⑥⑨.②⑤④')], 403, () => 80, ['SOCKS', 'TLS in SOCKS'])
  // A request line holds nothing beyond ASCII (RFC 3986, 2).
  await all(t, {}, spellings, 400, own, ['plain', 'CONNECT'])
})

t.test("the proxy's own port is reached by none of its names", (t) =>
  all(
    t,
    { addresses: { 'me.test': ['127.0.0.1'], 'me6.test': ['::1'], 'mapped.test': ['::ffff:127.0.0.1'] } },
    [
      ...LOOPBACK,
      'localhost',
      'me.test',
      'ME.test.',
      'me6.test',
      'mapped.test',
      '127.255.255.254',
      '0.0.0.0',
      '0',
      '0x0',
      '[::]',
      '[::1]',
      '[0:0:0:0:0:0:0:1]',
      '[::127.0.0.1]',
      '[64:ff9b::7f00:1]',
      ...Object.values(networkInterfaces())
        .flatMap((found) => found ?? [])
        .filter(({ address }) => !address.startsWith('fe80'))
        .map(({ address, family }) => (family === 'IPv6' ? `[${address}]` : address)),
    ],
    403,
    (proxy) => proxy.port,
  ),
)

t.test('metadata, link-local, multicast and broadcast addresses are never dialled', (t) =>
  all(
    t,
    {
      addresses: {
        'metadata.test': ['169.254.169.254'],
        'metadata6.test': ['fd00:ec2::254'],
        'mapped.test': ['::ffff:169.254.169.254'],
        'nat.test': ['64:ff9b::a9fe:a9fe'],
        'both.test': ['169.254.169.254', 'fe80::1'],
      },
    },
    [
      '169.254.169.254',
      '169.254.43518',
      '0xa9fea9fe',
      '0xa9.0xfe.0xa9.0xfe',
      '0251.0376.0251.0376',
      '2852039166',
      '[::ffff:169.254.169.254]',
      '[::ffff:a9fe:a9fe]',
      '[::169.254.169.254]',
      '[64:ff9b::a9fe:a9fe]',
      '[2002:a9fe:a9fe::]',
      '[fd00:ec2::254]',
      '[fd00:0ec2:0:0:0:0:0:254]',
      '[fe80::a9fe:a9fe]',
      '100.100.100.200',
      '192.0.0.192',
      '168.63.129.16',
      '224.0.0.1',
      '255.255.255.255',
      '[ff02::1]',
      'metadata.test',
      'metadata6.test',
      'mapped.test',
      'nat.test',
      'both.test',
    ],
    403,
    () => 80,
  ),
)

t.test('what is neither a name nor an address is refused before anything is asked', (t) =>
  all(
    t,
    {
      resolve: () => {
        throw new Error('asked')
      },
    },
    [
      '256.256.256.256',
      '1.2.3.4.5',
      '0x100000000',
      '99999999999',
      '08.1',
      '127.0.0.1%00',
      '127.0.0.1%2ftest',
      'a%2etest',
      'a%00.test',
      '[fe80::1%25eth0]',
      '[fe80::1%eth0]',
      '[::1%lo]',
      '[127.0.0.1]',
      '[::1]x',
      '[::1',
      '[v1.x]',
      '[]',
      'user@a.test',
      'user:pw@a.test',
      'a.test\\b.test',
      'a..test',
      '.',
      'a,b',
      '*',
      '*.test',
      'xn--0.test',
      `${'a'.repeat(64)}.test`,
      `${'a.'.repeat(125)}test`,
      '\xff\xfe.test',
      '\xc0\xae.test',
    ],
    400,
    () => 80,
  ),
)

t.test(
  'of several addresses only those that may be are dialled, and a name is asked once a request',
  async (t) => {
    const answers: Record<string, string[][]> = {
      // The second answer is what a rebinding server would give between check and use.
      'rebound.test': [['127.0.0.1'], ['169.254.169.254'], ['127.0.0.1'], ['169.254.169.254']],
      'mixed.test': [],
      'bad.test': [['127.0.0.2'], ['127.0.0.2'], ['127.0.0.2'], ['127.0.0.2']],
    }
    const asked: string[] = []
    const proxy = await startProxy(t, {
      egress: { block: ['127.0.0.2'] },
      resolve: (host) => {
        asked.push(host)
        return Promise.resolve(answers[host]?.shift() ?? ['127.0.0.2', '169.254.169.254', '127.0.0.1'])
      },
    })
    const witness = await Witness.start(t, proxy.originAuthority)
    const port = (way: Way): number => originPort(proxy, witness, way)
    for (const way of WAYS) {
      t.equal(await told(t, proxy, way, 'mixed.test', port(way)), 200, `one of three, ${way}`)
      t.equal(await told(t, proxy, way, 'bad.test', port(way)), 403, `none, ${way}`)
    }
    t.equal((await witness.taken()).length, WAYS.length)

    asked.length = 0
    t.equal(await told(t, proxy, 'plain', 'rebound.test', witness.httpPort), 200)
    t.equal(asked.length, 1, 'asked once: what was checked is what was dialled')
  },
)
