import t from 'tap'
import { localAddresses, localIPv4, localIPv6, OwnAddresses } from '../own-addresses.js'
import { startHttpOrigin, startProxy } from '../../../test/lab/harness.js'

t.test("the kernel's tables tell which addresses are ours", (t) => {
  const trie = [
    'Local:',
    '  +-- 0.0.0.0/0 3 0 5',
    '     |-- 0.0.0.0',
    '        /0 universe UNICAST',
    '           |-- 127.0.0.0',
    '              /8 host LOCAL',
    '        |-- 172.17.0.1',
    '           /32 host LOCAL',
    '        |-- 172.17.255.255',
    '           /32 link BROADCAST',
    '     |-- 10.89.0.0',
    '        /16 host LOCAL',
    '        /24 link UNICAST',
  ]
  t.strictSame(localIPv4(trie.join('\n')), ['127.0.0.0/8', '172.17.0.1/32', '10.89.0.0/16'])
  const nobody = '00000000000000000000000000000000 00 00000000000000000000000000000000'
  const routes = [
    `fd000000000000000000000000000002 80 ${nobody} 00000000 00000003 00000000 80200001     eth0`,
    `fd890000000000000000000000000000 20 ${nobody} 00000000 00000003 00000000 80200001       lo`,
    `fd000000000000000000000000000000 40 ${nobody} 00000100 00000001 00000000 00000001     eth0`,
    '',
  ]
  t.strictSame(localIPv6(routes.join('\n')), [
    'fd00:0000:0000:0000:0000:0000:0000:0002/128',
    'fd89:0000:0000:0000:0000:0000:0000:0000/32',
  ])
  t.end()
})

t.test('an address that comes is ours at once, and one that goes stays so until the next look', (t) => {
  let now = 0
  let present = ['10.0.0.1', '::ffff:0:0', 'fe80::1%eth0', '10.1.0.0/16', 'not one']
  const own = new OwnAddresses(
    () => present,
    () => now,
  )
  for (const address of [
    '10.0.0.1',
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
    '10.1.2.3',
    '127.1.1.1',
    '::1',
    '0.0.0.0',
  ])
    t.ok(own.has(address), address)
  t.notOk(own.has('10.0.0.2'))
  present = ['10.0.0.2']
  now += 1_000
  t.ok(own.has('10.0.0.1'), 'not looked at again for what is known')
  t.ok(own.has('10.0.0.2'))
  t.notOk(own.has('10.0.0.1'))
  t.ok(localAddresses().length > 0, 'of this machine')
  t.end()
})

t.test('an upstream proxy is no way to our own services', async (t) => {
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('own'))
  const parent = await startProxy(t)
  for (const scheme of ['http', 'socks5', 'socks5h']) {
    for (const resolve of ['local', 'remote'] as const) {
      const url = `${scheme}://127.0.0.1:${parent.port}`
      const proxy = await startProxy(t, {
        upstreamProxy: { url, resolve, no_proxy: [] },
        ownPorts: [port],
        resolve: (host) => (host === 'gone.test' ? Promise.resolve([]) : Promise.resolve(['127.0.0.1'])),
      })
      for (const form of ['-q', '-p']) {
        for (const host of ['me.test', '127.0.0.1', '[::ffff:127.0.0.1]']) {
          const { status, body } = await proxy.curl(
            form,
            '-g',
            '-x',
            'http://$PROXY',
            `http://${host}:${port}/`,
          )
          t.match(
            { status, body },
            { status: 403, body: /another service of Discobot/ },
            `${url} ${resolve} ${host}`,
          )
        }
      }
      const { body } = await proxy.curl('-x', 'http://$PROXY', `http://gone.test:${port}/`)
      const asked = resolve === 'remote' || scheme === 'socks5h'
      t.match(body, asked ? /^own$/ : /it has no address/, 'a name that is not ours is for the other to know')
    }
  }
})
