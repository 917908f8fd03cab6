import t from 'tap'
import {
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  openTls,
  type TestProxyOptions,
} from '../../../test/lab/harness.js'

// Who resolves names itself asks for a tunnel to an address, and says only inside what the site is called. The name counts
// for everything, if it leads to that address.

const VIA = ['-p', '-x', 'http://$PROXY'] as const
const SOCKS = ['-x', 'socks5h://$PROXY'] as const
const WAYS = [
  ['CONNECT', VIA],
  ['SOCKS', SOCKS],
] as const

const ADDRESSES = {
  'origin.test': ['127.0.0.1'],
  'both.test': ['192.0.2.7', '::ffff:127.0.0.1'],
  'elsewhere.test': ['192.0.2.7'],
  'blocked.test': ['127.0.0.1'],
}

for (const [way, args] of WAYS) {
  for (const scheme of ['http', 'https'] as const) {
    t.test(`${scheme} by ${way} to an address`, async (t) => {
      const resolved: string[] = []
      const options: TestProxyOptions = {
        blocklist: { domains: ['blocked.test'], ips: [] },
        headers: { 'origin.test': { set: { 'X-Site': 'yes' }, insecure: true } },
        resolve: (host) => {
          resolved.push(host)
          return Promise.resolve(ADDRESSES[host as keyof typeof ADDRESSES] ?? [])
        },
      }
      const proxy = await startProxy(t, options)
      const seen: unknown[] = []
      const listener: Parameters<typeof startHttpOrigin>[1] = (request, response) => {
        seen.push([request.headers.host, request.headers['x-site']])
        response.end('reached')
      }
      const { port } =
        scheme === 'http'
          ? await startHttpOrigin(t, listener)
          : await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', listener)
      // The client's own lookup: the tunnel it asks for is to the address.
      const ask = (name: string, ...more: string[]) =>
        proxy.curl(
          ...args,
          ...more,
          '--connect-to',
          `${name}:${port}:127.0.0.1:${port}`,
          `${scheme}://${name}:${port}/`,
        )

      t.match(await ask('origin.test'), { status: 200, body: 'reached' })
      t.match(await ask('elsewhere.test', '-k'), { status: 421 }, 'a name that leads elsewhere')
      t.match(await ask('unknown.test', '-k'), { status: 421 }, 'a name that leads nowhere')
      const { status, body } = await ask('blocked.test', '-k')
      t.equal(status, 403)
      t.match(body, /blocked\.test may not be reached/)
      t.notOk(resolved.includes('blocked.test'), 'what is blocked is not even looked up')
      t.match(await ask('origin.test', '-H', `Host: both.test:${port}`), {
        status: scheme === 'http' ? 200 : 421,
      })
      t.strictSame(seen, [
        [`origin.test:${port}`, 'yes'],
        ...(scheme === 'http' ? [[`both.test:${port}`, undefined]] : []),
      ])
    })
  }
}

t.test('several names, one of whose addresses it is, on one connection without a server name', async (t) => {
  const proxy = await startProxy(t, {
    addresses: { ...ADDRESSES, 'second.test': ['127.0.0.1', '192.0.2.7'] },
  })
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'second.test', (request, response) => {
    response.end(`for ${request.headers.host}.`)
  })
  const client = await openTls(t, proxy, `127.0.0.1:${port}`, undefined)
  client.socket.write(`GET / HTTP/1.1\r\nHost: second.test:${port}\r\n\r\n`)
  await client.until(/for second\.test:\d+\./)
  client.socket.write(`GET / HTTP/1.1\r\nHost: elsewhere.test:${port}\r\n\r\n`)
  await client.until(/ 421 [\s\S]*\n$/)
  client.socket.write(`GET /again HTTP/1.1\r\nHost: second.test:${port}\r\nConnection: close\r\n\r\n`)
  t.match((await client.closed()).text, /for second[\s\S]* 421 [\s\S]*for second/)
})

t.test('a server name and a Host that differ do not agree, though both lead there', async (t) => {
  const proxy = await startProxy(t, { addresses: { 'one.test': ['127.0.0.1'], 'two.test': ['127.0.0.1'] } })
  let asked = 0
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'two.test', () => (asked += 1))
  for (const [name, host] of [
    ['one.test', `two.test:${port}`],
    ['one.test', `127.0.0.1:${port}`],
    ['one.test', `one.test:${port + 1}`],
  ] as const) {
    const client = await openTls(t, proxy, `127.0.0.1:${port}`, name)
    client.socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    t.match((await client.closed()).text, /^HTTP\/1\.1 421 /, `${name}, ${host}`)
  }
  t.equal(asked, 0)
})

t.test('beside an absolute URI without a tunnel another Host is ignored, and goes no further', async (t) => {
  const proxy = await startProxy(t, { blocklist: { domains: ['blocked.test'], ips: [] } })
  const seen: unknown[] = []
  const { port } = await startHttpOrigin(t, (request, response) => {
    seen.push(request.rawHeaders.filter((_value, at, all) => all[at - 1]?.toLowerCase() === 'host'))
    response.end('reached')
  })
  const ask = (name: string, host: string) =>
    proxy.curl('-x', 'http://$PROXY', '-H', `Host: ${host}`, `http://${name}:${port}/`)
  for (const host of ['other.test', 'blocked.test', '127.0.0.1', `origin.test:${port + 1}`]) {
    t.match(await ask('origin.test', host), { status: 200 }, host)
  }
  t.match(await ask('blocked.test', 'origin.test'), { status: 403 })
  t.match(await ask('origin.test', 'a b'), { status: 400 })
  t.strictSame(seen, Array(4).fill([`origin.test:${port}`]))
})
