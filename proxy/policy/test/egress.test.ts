import { networkInterfaces } from 'node:os'
import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { Config } from '../../../config/model/config.js'
import { unresolved } from '../route-guard.js'
import { Egress } from '../egress.js'
import { openRaw, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'
import { WAYS, ask, startSite } from './three-ways.js'

const ANY: Config['egress'] = {
  private: 'allow',
  connect_ports: [],
  allow: [],
  block: [],
  own_ports: [],
  enforce: 'auto',
  dns: 'resolve',
}

t.test(
  'metadata, link-local, unspecified, multicast and broadcast are refused in every wrapping',
  async (t) => {
    const egress = new Egress(ANY)
    const mapped = (a: string): string[] => {
      const hex = a
        .split('.')
        .map((part) => Number(part).toString(16).padStart(2, '0'))
        .join('')
      const [high, low] = [hex.slice(0, 4), hex.slice(4)]
      const turned = (part: string): string => (0xffff ^ parseInt(part, 16)).toString(16)
      return [
        a,
        `::ffff:${a}`,
        `::${a}`,
        `64:ff9b::${a}`,
        `64:ff9b:1::${a}`,
        `::ffff:0:${a}`,
        `2002:${high}:${low}::1`,
        `2001:0:1234::${turned(high)}:${turned(low)}`,
      ]
    }
    for (const address of [
      ...[
        '169.254.169.254',
        '169.254.0.1',
        '100.100.100.200',
        '168.63.129.16',
        '224.0.0.1',
        '255.255.255.255',
      ].flatMap(mapped),
      ...[
        '0.0.0.0',
        '0.1.2.3',
        '::',
        'fe80::1',
        'fe80::1%eth0',
        'febf::1',
        'ff02::1',
        'fd00:ec2::254',
        'fd20:ce::254',
      ],
    ]) {
      t.match(egress.address(address)?.reason, /which is never dialled/, address)
    }
    for (const address of [
      '8.8.8.8',
      '127.0.0.1',
      '10.0.0.1',
      '2606:4700::1',
      '::1',
      '223.255.255.255',
      'fd00::1',
    ]) {
      t.equal(egress.address(address), undefined, address)
    }
  },
)

t.test('egress.private deny refuses what the public internet does not route, and nothing else', async (t) => {
  const egress = new Egress({ ...ANY, private: 'deny' })
  for (const address of [
    ...[
      '10.255.0.1',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '127.0.0.2',
      '100.64.0.1',
      '100.127.255.255',
    ],
    ...['198.18.0.1', '240.0.0.1', '::1', 'fc00::1', 'fdff::1', 'fec0::1', '::ffff:10.0.0.1', '::10.0.0.1'],
    ...['64:ff9b::10.0.0.1', '2002:a00:1::', '2002:7f00:1::1', '64:ff9b:1::808:808'],
  ]) {
    t.match(egress.address(address)?.reason, /egress\.private is deny/, address)
  }
  for (const address of [
    '8.8.8.8',
    '172.32.0.1',
    '100.128.0.1',
    '2606:4700::1',
    '64:ff9b::8.8.8.8',
    '11.0.0.1',
  ]) {
    t.equal(egress.address(address), undefined, address)
  }
})

t.test(
  'egress is judged on the address dialled, in every form of asking, whatever allows the host',
  async (t) => {
    const cases: readonly [Partial<Config['egress']>, host: string, status: number, RegExp?][] = [
      [{ private: 'deny' }, 'here.test', 403, /127\.0\.0\.1 is private/],
      [{ private: 'deny' }, '127.0.0.1', 403, /is private/],
      [{ private: 'deny' }, '[::ffff:127.0.0.1]', 403, /is private/],
      [{ block: ['127.0.0.0/8'] }, 'here.test', 403, /egress\.block has 127\.0\.0\.1/],
      [{ block: ['127.0.0.0/8'] }, 'wrapped.test', 403, /egress\.block/],
      [{ allow: ['10.0.0.0/8'] }, 'here.test', 403, /not in egress\.allow/],
      [{ allow: ['127.0.0.0/8'] }, 'here.test', 200],
      [{ allow: ['127.0.0.0/8'], block: ['127.0.0.1'] }, 'here.test', 403, /egress\.block/],
      [{ block: ['127.0.0.2'] }, 'both.test', 200],
      [{}, '169.254.169.254', 403, /never dialled/],
      [{}, 'metadata.test', 403, /never dialled/],
      [{}, 'here.test', 200],
    ]
    for (const [egress, host, status, reason] of cases) {
      const proxy = await startProxy(t, {
        egress,
        allowlist: { enabled: true, domains: ['*'], ips: [] },
        addresses: {
          'wrapped.test': ['64:ff9b::7f00:1'],
          'both.test': ['127.0.0.2', '127.0.0.1'],
          'metadata.test': ['169.254.169.254', 'fd00:ec2::254'],
        },
      })
      const site = await startSite(t, proxy, (_request, response) => void response.end('reached'))
      for (const way of WAYS) {
        const told = await ask(proxy, site, way, { host })
        t.equal(told.status, status, `${way}: ${host} with ${JSON.stringify(egress)}`)
        if (reason && !/SOCKS5|CONNECT tunnel/.test(told.text)) t.match(told.text, reason)
      }
    }
  },
)

t.test('connect_ports: other ports are refused to CONNECT and SOCKS before a tunnel is open', async (t) => {
  const probe = await startProxy(t)
  const site = await startSite(t, probe, (_request, response) => void response.end('reached'))
  const proxy = await startProxy(t, { egress: { connect_ports: [site.httpsPort] }, mode: 'observe' })
  const { port: other } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const target = `a.test:${other}`
  const client = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  t.match((await client.closed()).text, /^HTTP\/1\.1 403 [\s\S]*is not in egress\.connect_ports/)
  t.equal((await ask(proxy, site, 'SOCKS', { host: 'a.test' })).status, 403)
  t.equal((await ask(proxy, site, 'plain', { host: 'a.test' })).status, 200, 'plain HTTP opens no tunnel')
  const secure = await startHttpsOrigin(t, proxy.originAuthority, 'a.test', (_request, response) => {
    response.end('reached')
  })
  const open = await startProxy(t, { egress: { connect_ports: [secure.port] } })
  t.match(
    (await open.curl('-k', '-x', 'socks5h://$PROXY', `https://a.test:${secure.port}/`)).body,
    /cannot trust/,
  )
})

t.test(
  "the proxy's own ports are refused on every address of this machine, however it is written",
  async (t) => {
    const { port } = await startHttpOrigin(t, (_request, response) => void response.end('own'))
    const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address))
    const names = {
      'mapped.test': ['::ffff:127.0.0.1'],
      'other-loopback.test': ['127.3.2.1'],
      'v6.test': ['::1'],
      'all.test': own,
    }
    const proxy = await startProxy(t, { ownPorts: [port], addresses: names, mode: 'observe' })
    for (const host of [...Object.keys(names), '127.0.0.1', '2130706433', '[::1]', '[::ffff:7f00:1]']) {
      for (const own of [port, proxy.port]) {
        const { status, body } = await proxy.curl('-g', '-x', 'http://$PROXY', `http://${host}:${own}/`)
        t.equal(status, 403, `${host}:${own}`)
        t.match(body, /is this proxy itself/)
      }
    }
  },
)

t.test("a name that cannot be resolved is answered with 502, the name and the resolver's code", async (t) => {
  for (const [code, words] of [
    ['ENOTFOUND', /cannot resolve gone\.test: no such name \(ENOTFOUND\)/],
    ['EAI_AGAIN', /cannot resolve gone\.test: EAI_AGAIN/],
  ] as const) {
    const proxy = await startProxy(t, {
      resolve: (host) => Promise.reject(unresolved(host, Object.assign(new Error('getaddrinfo'), { code }))),
    })
    const site = { httpPort: 80, httpsPort: 443 }
    for (const way of WAYS)
      t.match(await ask(proxy, site, way, { host: 'gone.test' }), { status: 502, text: words })
  }
  const none = await startProxy(t, { addresses: { 'none.test': [] } })
  t.match(await none.curl('-x', 'http://$PROXY', 'http://none.test/'), {
    status: 502,
    body: /it has no address/,
  })
})

t.test('an address that does not answer is passed over within a quarter of a second', async (t) => {
  const port = await startDeadListener(t, '127.0.0.2')
  const site = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  // The origin must have the port of the dead one, on another address.
  await new Promise((resolve) => site.server.close(resolve))
  await new Promise<void>((resolve) => site.server.listen(port, '127.0.0.1', resolve))
  const proxy = await startProxy(t, { addresses: { 'two.test': ['127.0.0.2', '127.0.0.1'] } })
  const started = performance.now()
  const { body } = await proxy.curl('-x', 'http://$PROXY', `http://two.test:${port}/`)
  const tookMs = performance.now() - started
  t.equal(body, 'reached')
  t.ok(tookMs >= 200 && tookMs < 2_000, `${Math.round(tookMs)} ms`)
  const raw = await openRaw(t, proxy.port, `CONNECT two.test:${port} HTTP/1.1\r\n\r\n\0\r\n`)
  // The origin's own words for what is no HTTP.
  t.match(
    (await raw.closed()).text,
    /HTTP\/1\.1 400 Bad Request\r\nConnection: close\r\n\r\n$/,
    'in raw tunnels too',
  )
})

/** A port whose connections hang: its thread sleeps, and its queue is full. */
async function startDeadListener(t: Test, host: string): Promise<number> {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
     const server = require('node:net').createServer()
     server.listen({ port: 0, host: '${host}', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port)
       setTimeout(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0), 50)
     })`,
    { eval: true },
  )
  t.teardown(() => worker.terminate())
  const port = await new Promise<number>((resolve) => worker.once('message', resolve))
  await new Promise((resolve) => setTimeout(resolve, 150))
  for (;;) {
    const socket = connect({ port, host })
    socket.on('error', () => undefined)
    t.teardown(() => socket.destroy())
    const connected = new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)))
    const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 200))
    if (!(await Promise.race([connected, late]))) return port
  }
}
