import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { connect, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { loadConfigText } from '../../../config/layers/load.js'
import { ResolveError } from '../../policy/route-guard.js'
import { NameAnswers } from '../answers.js'
import { NameServer } from '../name-server.js'
import { readQuery, renderAnswer } from '../query.js'
import { Policy } from '../../policy/policy.js'

// Whoever looks up a name is answered for those that the policy allows; no other one is looked up, whatever is sent.

const ADDRESSES: Readonly<Record<string, readonly string[]>> = {
  'allowed.test': ['93.184.216.1', '93.184.216.2', '2606:4700::1'],
  'only4.test': ['93.184.216.4'],
  'private.test': ['10.0.0.1', '93.184.216.9'],
  'inside.test': ['10.0.0.1'],
  'many.test': Array.from({ length: 60 }, (_, index) => `8.8.4.${index}`),
}

interface Names {
  readonly port: number
  readonly asked: string[]
  readonly resolver: Resolver
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function serve(
  t: Test,
  operator: string,
  resolve?: (host: string) => Promise<readonly string[]>,
): Promise<Names> {
  const { config } = loadConfigText(operator, 'operator.yaml', { dataDir: '/nonexistent' })
  const policy = new Policy(config)
  const asked: string[] = []
  const port = await freePort()
  const answers = new NameAnswers({
    judge: (host) => policy.judgeName(host),
    resolve: (host) => {
      asked.push(host)
      if (resolve !== undefined) return resolve(host)
      const cause = Object.assign(new Error(), { code: host === 'broken.test' ? 'EAI_AGAIN' : 'ENOTFOUND' })
      const found = ADDRESSES[host]
      return found === undefined
        ? Promise.reject(new ResolveError(`cannot resolve ${host}`, { cause }))
        : Promise.resolve(found)
    },
  })
  const server = new NameServer({ port, answers, logger: silentLogger })
  await server.start()
  t.teardown(() => server.stop())
  const resolver = new Resolver({ timeout: 2_000, tries: 1 })
  resolver.setServers([`127.0.0.1:${port}`])
  return { port, asked, resolver }
}

async function codeOf(asked: Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify(await asked)
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'no code'
  }
}

const POLICY = `allowlist: { enabled: true, domains: ['*.test'] }
blocklist: { domains: [blocked.test, 93.184.216.4], ips: [8.8.8.0/24] }
rules:
  - { action: block, hosts: [ruled.test] }
  - { action: block, hosts: [partly.test], methods: [POST] }
  - { action: allow, hosts: [narrow.example], paths: [/v2/*] }
egress: { private: deny }
`

void t.test('names of which something may be had are answered, and no others looked up', async (t) => {
  const { asked, resolver, port } = await serve(t, POLICY)
  t.strictSame(await resolver.resolve4('allowed.test'), ['93.184.216.1', '93.184.216.2'])
  t.strictSame(await resolver.resolve6('allowed.test'), ['2606:4700::1'])
  t.strictSame(await resolver.resolve4('ALLOWED.test'), ['93.184.216.1', '93.184.216.2'], 'in every case')
  t.strictSame(
    await resolver.resolve4('private.test'),
    ['93.184.216.9'],
    'what may not be dialled is left out',
  )
  t.equal(await codeOf(resolver.resolve4('inside.test')), 'EREFUSED')
  t.equal(await codeOf(resolver.resolve4('only4.test')), 'EREFUSED', 'its address is blocked')
  t.equal(await codeOf(resolver.resolve6('private.test')), 'ENODATA')
  t.equal(await codeOf(resolver.resolve4('unknown.test')), 'ENOTFOUND')
  t.equal(await codeOf(resolver.resolve4('broken.test')), 'ESERVFAIL')
  t.equal(await codeOf(resolver.resolve4('partly.test')), 'ENOTFOUND', 'some requests to it are allowed')
  t.equal(await codeOf(resolver.resolve4('narrow.example')), 'ENOTFOUND', 'so they are here')
  const before = asked.length
  for (const name of [
    'leak.example',
    'blocked.test',
    'ruled.test',
    'a.b.c.leak.example',
    'test',
    'xn--a.test',
  ])
    t.equal(await codeOf(resolver.resolve4(name)), 'EREFUSED', name)
  for (const name of ['allowed.test', 'leak.example']) {
    for (const type of ['TXT', 'MX', 'SRV', 'NS', 'CNAME', 'SOA', 'CAA'] as const)
      t.match(await codeOf(resolver.resolve(name, type)), /^(ENODATA|EREFUSED)$/, `${type} of ${name}`)
  }
  t.equal(await codeOf(resolver.resolve('1.216.184.93.in-addr.arpa', 'PTR')), 'EREFUSED')
  t.strictSame(asked.slice(before), [], 'nobody was asked')

  if (Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'))) {
    resolver.setServers([`[::1]:${port}`])
    t.strictSame(await resolver.resolve4('allowed.test'), ['93.184.216.1', '93.184.216.2'], 'over IPv6')
  }
})

void t.test('without lists every name is answered, with `observe` too, but for egress', async (t) => {
  const open = await serve(t, '{}')
  t.strictSame(await open.resolver.resolve4('inside.test'), ['10.0.0.1'])
  const observing = await serve(t, `${POLICY}policy: { mode: observe }\n`)
  t.strictSame(await observing.resolver.resolve4('only4.test'), ['93.184.216.4'])
  t.equal(await codeOf(observing.resolver.resolve4('inside.test')), 'EREFUSED')
})

/** A query as bytes: header, labels, type, class, more. */
function query(
  name: string,
  type = 1,
  { id = 7, flags = 0x0100, counts = [1, 0, 0, 0], tail = '' } = {},
): Buffer {
  const head = Buffer.alloc(12)
  head.writeUInt16BE(id, 0)
  head.writeUInt16BE(flags, 2)
  for (const [index, count] of counts.entries()) head.writeUInt16BE(count, 4 + index * 2)
  const labels = name
    .split('.')
    .map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, type, 0, 1]), Buffer.from(tail, 'hex')])
}

/** Sends packets one after another; what comes within the time, by its id. */
async function exchange(
  port: number,
  packets: readonly Buffer[],
  last: Buffer,
): Promise<Map<number, Buffer>> {
  const socket = createSocket('udp4')
  const came = new Map<number, Buffer>()
  await new Promise<void>((resolve) => {
    socket.on('message', (message) => {
      came.set(message.readUInt16BE(0), message)
      if (message.readUInt16BE(0) === last.readUInt16BE(0)) resolve()
    })
    for (const packet of packets) socket.send(packet, port, '127.0.0.1')
    // Packets may be lost where there are many.
    const ask = (): void => void socket.send(last, port, '127.0.0.1')
    const timer = setInterval(ask, 200)
    socket.once('close', () => clearInterval(timer))
    ask()
  })
  socket.close()
  return came
}

const rcodeOf = (message: Buffer | undefined): number | undefined => message && message.readUInt16BE(2) & 0xf

void t.test('hostile packets are answered shortly or not at all, and harm nothing', async (t) => {
  const { port, asked, resolver } = await serve(t, POLICY)
  const last = query('allowed.test', 1, { id: 999 })
  const pointer = Buffer.concat([
    query('', 1, { id: 1 }).subarray(0, 12),
    Buffer.from([0xc0, 0x0c, 0, 1, 0, 1]),
  ])
  const came = await exchange(
    port,
    [
      Buffer.alloc(0),
      Buffer.alloc(11),
      pointer,
      query('allowed.test', 1, { id: 2, flags: 0x8100 }),
      query('allowed.test', 1, { id: 3, flags: 0x2900 }),
      query('allowed.test', 1, { id: 4, counts: [2, 0, 0, 0] }),
      query('allowed.test', 1, { id: 5, counts: [0, 0, 0, 0] }),
      query('allowed.test', 1, { id: 6, counts: [1, 1, 0, 0] }),
      query('allowed.test', 1, { id: 8 }).subarray(0, 20),
      query(Array(60).fill('aaaaaaaa').join('.'), 1, { id: 9 }),
      query('evil\0.allowed.test', 1, { id: 10 }),
      query('allowed.test', 1, { id: 12, counts: [1, 0, 0, 65_535], tail: '00002900000000000000ff' }),
      Buffer.concat([query('allowed.test', 1, { id: 13 }), Buffer.alloc(5_000)]),
      Buffer.concat([
        query('', 1, { id: 14 }).subarray(0, 12),
        Buffer.from('0c616c6c6f7765642e7465737400', 'hex'),
        Buffer.from([0, 1, 0, 1]),
      ]),
    ],
    last,
  )
  t.equal(came.has(2), false, 'an answer is not answered')
  t.equal(came.has(13), false, 'nor what is too long')
  t.strictSame(
    [1, 3, 4, 5, 6, 8, 9, 10, 14].map((id) => rcodeOf(came.get(id))),
    [1, 4, 1, 1, 1, 1, 1, 5, 1],
  )
  t.equal(rcodeOf(came.get(999)), 0)
  t.strictSame([...new Set(asked)], ['allowed.test'])

  const noise = Array.from({ length: 2_000 }, (_, index) =>
    Buffer.from(Array.from({ length: (index * 7) % 90 }, (_byte, at) => (index * 131 + at * at * 17) & 0xff)),
  )
  await exchange(port, noise, last)
  t.strictSame(await resolver.resolve4('allowed.test'), ['93.184.216.1', '93.184.216.2'], 'it goes on')
  for (const packet of noise) {
    const read = readQuery(packet)
    if (read !== undefined) t.ok(renderAnswer(read, 5, [], 'udp').length <= 12 + packet.length + 11)
  }
})

void t.test('what does not fit into a packet comes by TCP, in its order', async (t) => {
  const { port, resolver } = await serve(t, POLICY)
  const came = await exchange(port, [], query('many.test', 1, { id: 20 }))
  const short = came.get(20)
  t.ok(
    short !== undefined && (short.readUInt16BE(2) & 0x0200) !== 0 && short.readUInt16BE(6) === 0,
    'truncated',
  )
  t.equal((await resolver.resolve4('many.test')).length, 60)
  const socket = connect(port, '127.0.0.1')
  const framed = (message: Buffer): Buffer =>
    Buffer.concat([Buffer.from([message.length >> 8, message.length & 0xff]), message])
  const ids = await new Promise<number[]>((resolve) => {
    let got = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk])
      const seen: number[] = []
      for (let at = 0; at + 4 <= got.length; at += 2 + got.readUInt16BE(at))
        seen.push(got.readUInt16BE(at + 2))
      if (seen.length === 3) resolve(seen)
    })
    socket.write(Buffer.concat([1, 2, 3].map((id) => framed(query('allowed.test', 1, { id })))))
  })
  t.strictSame(ids, [1, 2, 3])
  socket.destroy()
  for (const start of [Buffer.from([0xff, 0xff, 0]), framed(query('a.test', 1, { flags: 0x8000 }))]) {
    const rude = connect(port, '127.0.0.1')
    rude.write(start)
    await new Promise((resolve) => rude.once('close', resolve).on('error', () => undefined))
  }
  t.pass('who sends nonsense is cut off')
})

void t.test('looking up is bounded', async (t) => {
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  const { port, asked } = await serve(t, '{}', () => held.then(() => ['93.184.216.1']))
  const floods = Array.from({ length: 200 }, (_, id) => query(`n${id}.test`, 1, { id }))
  // Those beyond the bound are told so while the others wait.
  const came = await exchange(port, floods, query('last.test', 1, { id: 5_000 }))
  t.equal(rcodeOf(came.get(5_000)), 2)
  t.equal(asked.length, 16)
  release()
})
