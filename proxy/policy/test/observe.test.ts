import t from 'tap'
import { silentLogger, type Logger } from '../../../base/log/logger.js'
import { Observations } from '../observations.js'
import { makeTarget } from '../../../base/net/target.js'
import { openRaw, startProxy, startTcpOrigin } from '../../../test/lab/harness.js'
import { WAYS, ask, startSite } from './three-ways.js'

/** A logger whose warnings are kept. */
function listening(): { logger: Logger; lines: object[] } {
  const lines: object[] = []
  const warn = (fields: object, message: string): void => {
    if (message === 'would block') lines.push(fields)
  }
  return { logger: { ...silentLogger, warn, isLevelEnabled: () => false, child: () => silentLogger }, lines }
}

t.test('observe lets through what lists and rules would block, and records it once a request', async (t) => {
  const { logger, lines } = listening()
  const proxy = await startProxy(t, {
    mode: 'observe',
    logger,
    allowlist: { enabled: true, domains: ['good.test', 'by-address.test'], ips: [] },
    blocklist: { domains: ['bad.test'], ips: ['127.0.0.1'] },
    rules: [{ action: 'block', hosts: ['good.test'], methods: ['POST'] }],
    addresses: { 'good.test': ['127.0.0.1'], 'never.test': ['169.254.169.254'] },
  })
  const site = await startSite(t, proxy, (_request, response) => void response.end('reached'))
  const { observations } = proxy
  for (const way of WAYS) {
    const before = observations.total
    t.equal((await ask(proxy, site, way, { host: 'bad.test', path: '/x?token=s3cret' })).status, 200, way)
    t.equal((await ask(proxy, site, way, { host: 'other.test' })).status, 200, way)
    t.equal((await ask(proxy, site, way, { host: 'good.test', method: 'POST' })).status, 200, way)
    t.equal((await ask(proxy, site, way, { host: 'by-address.test' })).status, 200, way)
    t.equal(observations.total - before, 4, `${way}: each is recorded once`)
    t.equal((await ask(proxy, site, way, { host: 'never.test' })).status, 403, `${way}: always refused`)
  }
  t.match(lines.slice(0, 4), [
    { rule: 'blocklist.domains[0]', host: `bad.test:${site.httpPort}`, method: 'GET', path: '/x' },
    { rule: 'allowlist.enabled', reason: 'it is not in allowlist.domains' },
    { rule: 'rules[0]', method: 'POST', path: '/' },
    { rule: 'blocklist.ips[0]', reason: 'blocklist.ips has 127.0.0.1' },
  ])
  t.notMatch(JSON.stringify([lines, observations.list()]), /s3cret/)
  const bad = observations.list().find(({ authority }) => authority === `bad.test:${site.httpPort}`)
  t.match(bad, { rule: 'blocklist.domains[0]', count: 3, method: 'GET', path: '/x' })
})

t.test('observe prefers the addresses that enforce would dial', async (t) => {
  const { logger, lines } = listening()
  const proxy = await startProxy(t, {
    mode: 'observe',
    logger,
    blocklist: { domains: [], ips: ['127.0.0.2'] },
    addresses: { 'two.test': ['127.0.0.2', '127.0.0.1'] },
  })
  const site = await startSite(t, proxy, (_request, response) => void response.end('reached'))
  t.equal((await ask(proxy, site, 'plain', { host: 'two.test' })).status, 200)
  t.strictSame(lines, [])
})

t.test('raw tunnels are recorded when bytes flow, not when they are only tried', async (t) => {
  const { logger, lines } = listening()
  const proxy = await startProxy(t, {
    mode: 'observe',
    logger,
    blocklist: { domains: ['raw.test'], ips: [] },
  })
  const port = await startTcpOrigin(t, (socket) => socket.once('data', () => socket.end('raw reached')))
  const target = `raw.test:${port}`
  const client = await openRaw(
    t,
    proxy.port,
    `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\nSSH-2.0-x\r\n`,
  )
  t.match((await client.closed()).text, /raw reached/)
  t.match(lines, [{ rule: 'blocklist.domains[0]', host: target }])
})

t.test('what is recorded is bounded: the place seen longest ago makes room', async (t) => {
  let now = 0
  const observations = new Observations(silentLogger, () => ++now)
  const finding = { option: ['allowlist', 'enabled'], reason: 'it is not in allowlist.domains' }
  const see = (host: string): void => observations.record(makeTarget(host, 443), { kind: 'tunnel' }, finding)
  see('first.test')
  for (let i = 0; i < 499; i++) see(`host${i}.test`)
  see('first.test')
  see('one-more.test')
  t.equal(observations.list().length, 500)
  t.equal(observations.total, 502)
  t.match(observations.list()[1], { authority: 'first.test:443', count: 2, firstMs: 1, lastMs: 501 })
  t.notOk(observations.list().some(({ authority }) => authority === 'host0.test:443'))
})
