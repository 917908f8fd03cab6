import t from 'tap'
import { openRaw, startHttpOrigin, startProxy, startTcpOrigin } from '../../../test/lab/harness.js'

const GREETING = Buffer.from([5, 1, 0])

function request(command: number, type: number, address: readonly number[] | string, port: number): Buffer {
  const bytes = typeof address === 'string' ? [address.length, ...Buffer.from(address)] : address
  return Buffer.from([5, command, 0, type, ...bytes, port >> 8, port & 0xff])
}

const codes = (text: string): number[] => [...Buffer.from(text, 'latin1')]

t.test('CONNECT by name, IPv4 and IPv6 reaches the origin', async (t) => {
  const proxy = await startProxy(t)
  const port = await startTcpOrigin(t, (socket) => socket.write('\x01banner'))
  for (const [type, address] of [
    [3, 'origin.test'],
    [1, [127, 0, 0, 1]],
    [4, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]],
  ] as const) {
    const client = await openRaw(t, proxy.port, GREETING)
    await client.until(/^\x05\x00$/)
    client.socket.write(request(1, type, address, port))
    await client.until(/banner$/)
    t.strictSame(codes(client.received()).slice(2, 12), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  }
})

t.test('greeting, request and payload may come in one piece or byte by byte', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('whole'))
  const all = Buffer.concat([
    GREETING,
    request(1, 3, 'origin.test', port),
    Buffer.from(`GET / HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n`),
  ])
  const atOnce = await openRaw(t, proxy.port, all)
  t.match((await atOnce.closed()).text, /HTTP\/1\.1 200 OK[\s\S]*whole$/)
  const slowly = await openRaw(t, proxy.port)
  for (const byte of all) {
    slowly.socket.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.match((await slowly.closed()).text, /HTTP\/1\.1 200 OK[\s\S]*whole$/)
})

t.test("what is not served is refused by the protocol's own code", async (t) => {
  const proxy = await startProxy(t, { blocklist: { domains: ['blocked.test'], ips: ['192.0.2.0/24'] } })
  const after = [0, 1, 0, 0, 0, 0, 0, 0]
  const cases: readonly [what: string, bytes: Buffer, reply: readonly number[]][] = [
    ['BIND', request(2, 3, 'origin.test', 80), [5, 7, ...after]],
    ['UDP ASSOCIATE', request(3, 1, [0, 0, 0, 0], 0), [5, 7, ...after]],
    ['an unknown address type', Buffer.from([5, 1, 0, 9]), [5, 8, ...after]],
    ['a blocked name', request(1, 3, 'blocked.test', 80), [5, 2, ...after]],
    ['a blocked address', request(1, 1, [192, 0, 2, 7], 80), [5, 2, ...after]],
    ['a metadata address', request(1, 1, [169, 254, 169, 254], 80), [5, 2, ...after]],
    ['a name that is none', request(1, 3, 'a b', 80), [5, 1, ...after]],
    ['port 0', request(1, 3, 'origin.test', 0), [5, 1, ...after]],
    ['the proxy itself', request(1, 1, [127, 0, 0, 1], proxy.port), [5, 2, ...after]],
  ]
  for (const [what, bytes, reply] of cases) {
    const client = await openRaw(t, proxy.port, Buffer.concat([GREETING, bytes]))
    t.strictSame(codes((await client.closed()).text), [5, 0, ...reply], what)
  }
  const passwordOnly = await openRaw(t, proxy.port, Buffer.from([5, 1, 2]))
  t.strictSame(codes((await passwordOnly.closed()).text), [5, 0xff], 'no acceptable method')
  const socks4 = await openRaw(t, proxy.port, Buffer.from([4, 1, 0, 80, 127, 0, 0, 1, 0]))
  t.strictSame(codes((await socks4.closed()).text).slice(0, 2), [0, 0x5b], 'SOCKS4: rejected')
})

t.test('curl speaks SOCKS5 with names resolved here', async (t) => {
  const proxy = await startProxy(t, { addresses: { 'only-here.test': ['127.0.0.1'] } })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  t.match(await proxy.curl('-x', 'socks5h://$PROXY', `http://only-here.test:${port}/`), { body: 'reached' })
})
