import type { NetworkInterfaceInfo } from 'node:os'
import t from 'tap'
import type { Config } from '../../../config/model/config.js'
import { exposedHosts } from '../exposure.js'
import {
  openRaw,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  type TestProxyOptions,
} from '../../../test/lab/harness.js'
import { curl, folder, json, start } from '../../../test/lab/program.js'

// Who does not know the name and password of proxy.auth gets nothing through the proxy, and nobody learns them.

const PASSWORD = 'correct-horse-7Q'
const AUTH: Config['proxy']['auth'] = { user: 'agents', password: '${PROXY_PASSWORD}', loopback: 'required' }
const OPTIONS: TestProxyOptions = {
  auth: AUTH,
  secrets: { PROXY_PASSWORD: { hosts: [], env: 'PROXY_PASSWORD' } },
  env: { PROXY_PASSWORD: PASSWORD },
}
const RIGHT = `agents:${PASSWORD}`

function credentials(user: string, password: string): Buffer {
  return Buffer.from([1, user.length, ...Buffer.from(user), password.length, ...Buffer.from(password)])
}

t.test('HTTP, CONNECT and SOCKS5 ask for credentials, and take the right ones only', async (t) => {
  const proxy = await startProxy(t, OPTIONS)
  const plain = await startHttpOrigin(t, (request, response) => {
    response.end(request.rawHeaders.join('\n'))
  })
  const secure = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    response.end(request.rawHeaders.join('\n'))
  })
  for (const url of [`http://origin.test:${plain.port}/`, `https://origin.test:${secure.port}/`]) {
    for (const wrong of [undefined, 'agents:wrong', `other:${PASSWORD}`, 'agents:', `agents:${PASSWORD}x`]) {
      const shown = wrong === undefined ? [] : ['--proxy-user', wrong]
      const refused = await proxy.curl('-x', 'http://$PROXY', '-i', ...shown, url)
      const what = `${refused.body}\n${refused.stderr}`
      t.match(what, /407/, `${url} with ${String(wrong)}`)
    }
    const answer = await proxy.curl('-x', 'http://$PROXY', '--proxy-user', RIGHT, url)
    t.equal(answer.status, 200, url)
    t.notMatch(answer.body, /proxy-authorization/i, 'it goes no further')
    t.match(await proxy.curl('-x', `socks5h://${RIGHT}@$PROXY`, url), { status: 200 })
    t.match(await proxy.curl('-x', 'socks5h://agents:wrong@$PROXY', url), { exitCode: 97 })
    t.match(await proxy.curl('-x', 'socks5h://$PROXY', url), { exitCode: 97 })
  }
})

t.test('the refusal says how to do better, and the connection can be used again', async (t) => {
  const proxy = await startProxy(t, OPTIONS)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const request = `GET http://origin.test:${port}/ HTTP/1.1\r\nHost: origin.test:${port}\r\n`
  const client = await openRaw(t, proxy.port, `${request}\r\n`)
  const refused = await client.until(/\(proxy\.auth\)\n$/)
  t.match(refused, /^HTTP\/1\.1 407 /)
  t.match(refused, /\r\nProxy-Authenticate: Basic realm="discobot-proxy", charset="UTF-8"\r\n/)
  t.match(refused, /\r\nProxy-Status: discobot; error=http_request_denied; /)
  const encoded = Buffer.from(RIGHT).toString('base64')
  client.socket.write(`${request}Proxy-Authorization: basic ${encoded}\r\nConnection: close\r\n\r\n`)
  t.match((await client.closed()).text, /HTTP\/1\.1 200 [\s\S]*reached$/)

  const connect = await openRaw(t, proxy.port, `CONNECT origin.test:${port} HTTP/1.1\r\n\r\n`)
  t.match((await connect.closed()).text, /^HTTP\/1\.1 407 [\s\S]*\r\nProxy-Authenticate: Basic /)
})

t.test('each request on a plain connection shows them, a tunnel once', async (t) => {
  const proxy = await startProxy(t, OPTIONS)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const encoded = Buffer.from(RIGHT).toString('base64')
  const host = `Host: origin.test:${port}\r\n`
  const plain = await openRaw(
    t,
    proxy.port,
    `GET http://origin.test:${port}/ HTTP/1.1\r\n${host}Proxy-Authorization: Basic ${encoded}\r\n\r\n`,
  )
  await plain.until(/reached$/)
  plain.socket.write(`GET http://origin.test:${port}/ HTTP/1.1\r\n${host}Connection: close\r\n\r\n`)
  t.match((await plain.closed()).text, /reached[\s\S]*HTTP\/1\.1 407 /)

  const tunnel = await openRaw(
    t,
    proxy.port,
    `CONNECT origin.test:${port} HTTP/1.1\r\n${host}Proxy-Authorization: Basic ${encoded}\r\n\r\n`,
  )
  await tunnel.until(/\r\n\r\n$/)
  tunnel.socket.write(`GET / HTTP/1.1\r\n${host}Connection: close\r\n\r\n`)
  t.match((await tunnel.closed()).text, /HTTP\/1\.1 200 OK[\s\S]*reached$/)
})

t.test('what is no credentials is refused like wrong ones', async (t) => {
  const proxy = await startProxy(t, OPTIONS)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const encoded = Buffer.from(RIGHT).toString('base64')
  const headers = [
    `Basic`,
    `Basic  `,
    `Bearer ${encoded}`,
    `Basic ${Buffer.from('agents').toString('base64')}`,
    `Basic ${encoded}, Basic ${encoded}`,
    `Basic ${encoded}\r\nProxy-Authorization: Basic ${encoded}`,
    `Basic ${Buffer.from(`\0${RIGHT}`).toString('base64')}`,
  ]
  for (const header of headers) {
    const client = await openRaw(
      t,
      proxy.port,
      `GET http://origin.test:${port}/ HTTP/1.1\r\nHost: origin.test:${port}\r\nProxy-Authorization: ${header}\r\nConnection: close\r\n\r\n`,
    )
    t.match((await client.closed()).text, /^HTTP\/1\.1 407 /, JSON.stringify(header))
  }
})

t.test('SOCKS5 speaks RFC 1929', async (t) => {
  const proxy = await startProxy(t, OPTIONS)
  const cases: readonly [what: string, sent: Buffer, reply: string][] = [
    ['no method of ours', Buffer.from([5, 1, 0]), '\x05\xff'],
    [
      'wrong password',
      Buffer.concat([Buffer.from([5, 2, 0, 2]), credentials('agents', 'x')]),
      '\x05\x02\x01\x01',
    ],
    ['empty', Buffer.concat([Buffer.from([5, 1, 2]), credentials('', '')]), '\x05\x02\x01\x01'],
    ['another version', Buffer.from([5, 1, 2, 9, 1, 97, 1, 98]), '\x05\x02\x01\x01'],
  ]
  for (const [what, sent, reply] of cases) {
    const client = await openRaw(t, proxy.port, sent)
    t.equal((await client.closed()).text, reply, what)
  }
})

t.test('with loopback: exempt this machine is not asked, and may still show what it knows', async (t) => {
  const proxy = await startProxy(t, { ...OPTIONS, auth: { ...AUTH, loopback: 'exempt' } })
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const url = `http://origin.test:${port}/`
  t.match(await proxy.curl('-x', 'http://$PROXY', url), { status: 200 })
  t.match(await proxy.curl('-x', 'socks5h://$PROXY', url), { status: 200 })
  const only = await openRaw(
    t,
    proxy.port,
    Buffer.concat([Buffer.from([5, 1, 2]), credentials('agents', PASSWORD)]),
  )
  t.equal(await only.until(/^..../s), '\x05\x02\x01\x00')
})

t.test('neither log, nor API, nor error knows the password', async (t) => {
  const dir = folder(t)
  const origin = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const program = await start(t, dir, {
    proxy: { port: 0, api_port: 0, auth: { user: 'agents', password: PASSWORD } },
    logging: { level: 'debug' },
  })
  const url = `http://127.0.0.1:${origin.port}/`
  t.match(await curl(program, dir, '-i', url), { stdout: /407/ })
  t.match(await curl(program, dir, '--proxy-user', RIGHT, url), { stdout: 'reached' })
  t.match(await curl(program, dir, '--proxy-user', `${RIGHT}x`, url), { stdout: /another name or password/ })
  await program.logged(/another name or password/)
  const shown = await json(`http://127.0.0.1:${program.apiPort}/api/config`)
  t.match(shown, {
    config: { proxy: { auth: { user: '[redacted]', password: '[redacted]', loopback: 'required' } } },
  })
  const encoded = Buffer.from(RIGHT).toString('base64')
  for (const secret of [PASSWORD, encoded]) {
    t.notOk(program.log().includes(secret))
    t.notOk(JSON.stringify(shown).includes(secret))
  }
  t.notOk(
    'findings' in (await json(`http://127.0.0.1:${program.apiPort}/health`)),
    'loopback is not open to others',
  )
})

t.test('prewarming, which is a client of ours, gets in', async (t) => {
  const proxy = await startProxy(t, OPTIONS)
  const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
  const client = await openRaw(
    t,
    proxy.port,
    `GET http://origin.test:${port}/ HTTP/1.1\r\nHost: origin.test:${port}\r\nProxy-Authorization: ${String(proxy.server.ownAuthorization)}\r\nConnection: close\r\n\r\n`,
  )
  t.match((await client.closed()).text, /^HTTP\/1\.1 200 /)
  t.equal((await startProxy(t)).server.ownAuthorization, undefined)
})

t.test('an address at which others can reach us is found out', async (t) => {
  const at = (address: string, family: 'IPv4' | 'IPv6' = 'IPv4'): NetworkInterfaceInfo[] => [
    family === 'IPv4'
      ? { address, family, netmask: '', mac: '', internal: false, cidr: null }
      : { address, family, netmask: '', mac: '', internal: false, cidr: null, scopeid: 0 },
  ]
  const interfaces = {
    lo: [...at('127.0.0.1'), ...at('192.0.2.1')],
    eth0: [...at('10.0.0.5'), ...at('fd00::5', 'IPv6')],
    docker0: at('172.17.0.1'),
    'br-0123456789ab': at('172.18.0.1'),
    'br-lan': at('192.168.1.1'),
  }
  const hosts = [
    '127.0.0.1',
    '::1',
    '192.0.2.1',
    '172.17.0.1',
    '172.18.0.1',
    '10.0.0.5',
    'fd00::5',
    '192.168.1.1',
    '0.0.0.0',
    '10.9.9.9',
  ]
  t.strictSame(exposedHosts(hosts, interfaces), ['10.0.0.5', 'fd00::5', '192.168.1.1', '0.0.0.0'])
})

t.test(
  'a listener beyond loopback says so, in the log and in /health, until somebody is asked',
  async (t) => {
    const dir = folder(t)
    const open = await start(t, dir, { proxy: { port: 0, api_port: 0, host: '0.0.0.0' } })
    await open.logged(/open to others/)
    t.match(await json(`http://127.0.0.1:${open.apiPort}/health`), {
      findings: [/0\.0\.0\.0: .* set proxy\.auth/],
    })
    const other = folder(t)
    const asked = await start(t, other, {
      proxy: { port: 0, api_port: 0, host: '0.0.0.0', auth: { user: 'a', password: 'b' } },
    })
    t.notMatch(asked.log(), /open to others/)
  },
)
