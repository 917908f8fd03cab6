import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { format, inspect } from 'node:util'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import type { Config, SecretSource } from '../../../config/model/config.js'
import type { Logger } from '../../../base/log/logger.js'
import { codeOf, reasonOf } from '../../../base/errors.js'
import { resolveSecrets } from '../secrets.js'
import { openTestCache } from '../../../test/lab/cache-front.js'
import {
  openRaw,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  type TestProxy,
} from '../../../test/lab/harness.js'

const SECRET = 'hunter2+/=hunter2'
const PLACEHOLDER = 'sk-discobot-placeholder'

const KEY: SecretSource = {
  hosts: ['api.test', '*.api.test'],
  env: 'KEY',
  placeholder: PLACEHOLDER,
  placeholder_headers: ['Authorization', 'X-Api-Key'],
}

/** What an origin was sent, and what it says. */
interface Witness {
  readonly port: number
  readonly seen: IncomingMessage[]
  /** All values of a header in the last request. */
  last(name: string): string[]
}

function witness(): { readonly seen: IncomingMessage[]; last(name: string): string[] } {
  const seen: IncomingMessage[] = []
  return {
    seen,
    last: (name) => {
      const { rawHeaders = [] } = seen.at(-1) ?? {}
      return rawHeaders.filter((_value, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name)
    },
  }
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void

async function secureOrigin(t: Test, proxy: TestProxy, host: string, answer: Answer = ok): Promise<Witness> {
  const found = witness()
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, host, (request, response) => {
    found.seen.push(request)
    answer(request, response)
  })
  return { ...found, port }
}

async function plainOrigin(t: Test): Promise<Witness> {
  const found = witness()
  const { port } = await startHttpOrigin(t, (request, response) => {
    found.seen.push(request)
    response.end('ok')
  })
  return { ...found, port }
}

const ok: Answer = (_request, response) => void response.end('ok')

/** A log whose lines are kept whole. */
function keepingLogger(): Logger & { readonly lines: string[] } {
  const lines: string[] = []
  const keep = (fields: object, message: string): void =>
    void lines.push(JSON.stringify({ message, ...fields }))
  const logger = { debug: keep, info: keep, warn: keep, error: keep, isLevelEnabled: () => true, lines }
  return { ...logger, child: () => ({ ...logger, child: () => keepingLogger() }) }
}

const VIA_PROXY = ['-x', 'http://$PROXY'] as const

t.test(
  'a secret is sent over TLS to its host, in every way there, and the client never sees it',
  async (t) => {
    const logger = keepingLogger()
    const proxy = await startProxy(t, {
      secrets: { KEY, TWO: { hosts: ['api.test'], env: 'OTHER' } },
      env: { KEY: SECRET, OTHER: 'second' },
      headers: {
        'api.test': {
          set: { Authorization: 'Bearer ${KEY}', 'X-Both': '${TWO}/$${KEY}/${KEY}' },
          append: { 'X-More': '${TWO}' },
        },
      },
      logger,
    })
    const origin = await secureOrigin(t, proxy, 'api.test')
    const url = `https://api.test:${origin.port}/`
    const ways = [
      ['-x', 'http://$PROXY'],
      ['-x', 'socks5h://$PROXY'],
      ['-x', 'socks5h://$PROXY', '-I'],
      ['-x', 'http://$PROXY', '-H', 'Authorization: Bearer own', '-H', 'authorization: second'],
      ['-x', 'http://$PROXY', '-H', 'Connection: authorization, close'],
      ['-x', 'http://$PROXY', '-d', 'upload'],
    ]
    for (const way of ways) {
      const { status, body, stderr } = await proxy.curl(...way, '-H', 'X-More: mine', '-v', url)
      t.equal(status, 200, stderr)
      t.strictSame(origin.last('authorization'), [`Bearer ${SECRET}`], way.join(' '))
      t.strictSame(origin.last('x-both'), [`second/\${KEY}/${SECRET}`])
      t.strictSame(origin.last('x-more'), ['mine, second'])
      t.notOk((body + stderr).includes(SECRET))
    }
    // Absolute form without a tunnel: what counts is that upstream is TLS.
    const raw = await openRaw(
      t,
      proxy.port,
      `GET ${url} HTTP/1.1\r\nHost: api.test:${origin.port}\r\nConnection: close\r\n\r\n`,
    )
    t.match((await raw.closed()).text, /^HTTP\/1\.1 200/)
    t.strictSame(origin.last('authorization'), [`Bearer ${SECRET}`])
    t.equal(logger.lines.length, 7)
    t.notOk(logger.lines.join('\n').includes('hunter2'))
  },
)

t.test(
  'over plain HTTP a rule is withheld whole and told once a host, unless it says insecure',
  async (t) => {
    const logger = keepingLogger()
    const proxy = await startProxy(t, {
      secrets: { KEY },
      env: { KEY: SECRET },
      headers: {
        'api.test': { set: { Authorization: 'Bearer ${KEY}', 'X-Plain': 'p' }, append: { 'X-Also': 'a' } },
        'open.api.test': { set: { 'X-Key': '${KEY}' }, insecure: true },
        '*.other.test': { set: { 'X-Plain': 'p' }, conditions: [{ header: 'X-If', equals: 'yes' }] },
      },
      logger,
    })
    const origin = await plainOrigin(t)
    const ask = (host: string, ...args: string[]) =>
      proxy.curl(...VIA_PROXY, ...args, `http://${host}:${origin.port}/`)
    for (const form of [[], ['-p'], ['-x', 'socks5h://$PROXY']]) {
      await ask('api.test', '-H', 'Authorization: Bearer own', ...form)
      t.strictSame(origin.last('authorization'), ['Bearer own'])
      t.strictSame([...origin.last('x-plain'), ...origin.last('x-also')], [])
    }
    await ask('open.api.test')
    t.strictSame(origin.last('x-key'), [SECRET])
    const told = (): string[] => logger.lines.filter((line) => line.includes('withheld'))
    t.equal(told().length, 1)
    t.match(told()[0], /"host":"api\.test","rule":"api\.test"/)
    await ask('a.other.test')
    t.equal(told().length, 1, 'a rule whose conditions do not hold is not withheld')
    await ask('a.other.test', '-H', 'X-If: yes')
    await ask('b.other.test', '-H', 'X-If: yes')
    t.strictSame(origin.last('x-plain'), [])
    t.equal(told().length, 3)
    t.notOk(logger.lines.join('\n').includes('hunter2'))
  },
)

t.test('a client that follows a redirect to another host takes no secret there', async (t) => {
  const proxy = await startProxy(t, {
    secrets: { KEY },
    env: { KEY: SECRET },
    headers: { 'api.test': { set: { Authorization: 'Bearer ${KEY}', 'X-Key': '${KEY}' } } },
  })
  const other = await secureOrigin(t, proxy, 'cdn.test')
  const plain = await plainOrigin(t)
  for (const location of [`https://cdn.test:${other.port}/blob`, `http://api.test:${plain.port}/blob`]) {
    const origin = await secureOrigin(t, proxy, 'api.test', (_request, response) => {
      response.writeHead(307, { Location: location }).end()
    })
    const { status } = await proxy.curl(
      ...VIA_PROXY,
      '-L',
      '--location-trusted',
      '-H',
      `X-Api-Key: ${PLACEHOLDER}`,
      `https://api.test:${origin.port}/`,
    )
    t.equal(status, 200)
    t.strictSame(origin.last('authorization'), [`Bearer ${SECRET}`])
    t.strictSame(origin.last('x-api-key'), [SECRET])
  }
  for (const end of [other, plain]) {
    t.equal(end.seen.length, 1)
    t.strictSame(end.last('authorization'), [])
    t.strictSame(end.last('x-key'), [])
    t.strictSame(end.last('x-api-key'), [PLACEHOLDER], 'a placeholder is no secret')
  }
})

t.test('one authority decides: no Host, server name or URI carries a secret elsewhere', async (t) => {
  const proxy = await startProxy(t, {
    secrets: { KEY },
    env: { KEY: SECRET },
    headers: { 'api.test': { set: { Authorization: 'Bearer ${KEY}' } } },
  })
  const evil = await secureOrigin(t, proxy, 'evil.test')
  const at = `evil.test:${evil.port}`
  for (const args of [
    ['-H', 'Host: api.test'],
    ['-H', `Host: api.test:${evil.port}`],
    ['--connect-to', `api.test:${evil.port}:${at}`, '-H', `Host: ${at}`],
  ]) {
    const url = args[0] === '--connect-to' ? `https://api.test:${evil.port}/` : `https://${at}/`
    t.equal((await proxy.curl(...VIA_PROXY, ...args, url)).status, 421, args.join(' '))
  }
  await proxy.curl(...VIA_PROXY, '-H', `Authorization: Bearer ${PLACEHOLDER}`, `https://${at}/`)
  t.strictSame(evil.last('authorization'), [`Bearer ${PLACEHOLDER}`])
  t.equal(evil.seen.length, 1)
})

t.test('TRACE, whose answer repeats the request, gets nothing added', async (t) => {
  const proxy = await startProxy(t, {
    secrets: { KEY },
    env: { KEY: SECRET },
    headers: { 'api.test': { set: { Authorization: 'Bearer ${KEY}' } } },
  })
  const origin = await secureOrigin(
    t,
    proxy,
    'api.test',
    (request, response) => void response.end(request.rawHeaders.join('\n')),
  )
  const headers = ['-H', `X-Api-Key: ${PLACEHOLDER}`]
  const url = `https://api.test:${origin.port}/`
  t.notOk((await proxy.curl(...VIA_PROXY, '-X', 'TRACE', ...headers, url)).body.includes(SECRET))
  await proxy.curl(...VIA_PROXY, ...headers, url)
  t.strictSame(origin.last('x-api-key'), [SECRET])
})

t.test('a WebSocket over TLS gets the rule and the placeholder swapped', async (t) => {
  const proxy = await startProxy(t, {
    secrets: { KEY },
    env: { KEY: SECRET },
    headers: { 'api.test': { set: { Authorization: 'Bearer ${KEY}' } } },
  })
  const { server, port } = await startHttpsOrigin(t, proxy.originAuthority, 'api.test', ok)
  const sockets = new WebSocketServer({ server })
  t.teardown(() => sockets.close())
  const target = `api.test:${port}`
  const tunnel = await openRaw(t, proxy.port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  await tunnel.until(/\r\n\r\n$/)
  tunnel.socket.removeAllListeners('data')
  const client = new WebSocket(`wss://${target}/`, {
    headers: { 'X-Api-Key': PLACEHOLDER },
    createConnection: () => connectTls({ socket: tunnel.socket, servername: 'api.test', ca: proxy.caPem }),
  })
  const open = once(client, 'open')
  const [, request] = (await once(sockets, 'connection')) as [WebSocket, IncomingMessage]
  await open
  t.match(request.headers, { authorization: `Bearer ${SECRET}`, 'x-api-key': SECRET })
  client.close()
  await once(client, 'close')
})

t.test('a cache fill is made with the secret, which then stands nowhere in the cache', async (t) => {
  const dir = join(t.testdir(), 'cache')
  const cache = await openTestCache(dir)
  t.teardown(() => cache.close())
  const proxy = await startProxy(t, {
    secrets: { KEY },
    env: { KEY: SECRET },
    headers: { 'api.test': { set: { Authorization: 'Bearer ${KEY}' } } },
    cache,
  })
  const origin = await secureOrigin(
    t,
    proxy,
    'api.test',
    (request, response) =>
      void response.writeHead(request.headers.authorization === `Bearer ${SECRET}` ? 200 : 401).end('body'),
  )
  const url = `https://api.test:${origin.port}/plain/x`
  for (const args of [[], ['-r', '1-2'], ['-I'], []]) {
    t.match(await proxy.curl(...VIA_PROXY, ...args, url), { exitCode: 0 })
    // A client has the last byte a moment before the entry is there.
    while (cache.stats().stores === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  t.match(cache.stats(), { stores: 1, misses: 1, hits: 3 })
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  t.ok(files.some(({ name }) => name.endsWith('.meta')))
  for (const { parentPath, name } of files) {
    t.notMatch(readFileSync(join(parentPath, name), 'latin1'), /hunter2|authorization/i, name)
  }
  // What bypasses the cache is judged the same way.
  t.equal((await proxy.curl(...VIA_PROXY, '-r', '1-2', `${url}?part`)).status, 200)
  t.strictSame(origin.last('authorization'), [`Bearer ${SECRET}`])
})

t.test('a placeholder is swapped in the forms tools send it in, and only there', async (t) => {
  const proxy = await startProxy(t, { secrets: { KEY }, env: { KEY: SECRET } })
  const origin = await secureOrigin(t, proxy, 'api.test')
  const plain = await plainOrigin(t)
  const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`
  const forms: readonly (readonly [name: string, sent: string, arrives: string])[] = [
    ['authorization', `Bearer ${PLACEHOLDER}`, `Bearer ${SECRET}`],
    ['authorization', `token ${PLACEHOLDER}`, `token ${SECRET}`],
    ['authorization', PLACEHOLDER, SECRET],
    ['x-api-key', PLACEHOLDER, SECRET],
    ['authorization', basic(`user:${PLACEHOLDER}`), basic(`user:${SECRET}`)],
    ['authorization', basic(`${PLACEHOLDER}:`), basic(`${SECRET}:`)],
    ['authorization', basic(`${PLACEHOLDER}:x`).replace('Basic', 'basic'), basic(`${SECRET}:x`)],
    // Exactly that value, in the headers named, and nothing that only resembles it.
    ['authorization', `Bearer ${PLACEHOLDER}x`, `Bearer ${PLACEHOLDER}x`],
    ['authorization', `Bearer ${PLACEHOLDER} x`, `Bearer ${PLACEHOLDER} x`],
    ['authorization', `Bearer ${PLACEHOLDER.toUpperCase()}`, `Bearer ${PLACEHOLDER.toUpperCase()}`],
    ['authorization', basic(PLACEHOLDER), basic(PLACEHOLDER)],
    ['authorization', basic(`user:${PLACEHOLDER}x`), basic(`user:${PLACEHOLDER}x`)],
    ['x-request-id', PLACEHOLDER, PLACEHOLDER],
    ['origin', PLACEHOLDER, PLACEHOLDER],
  ]
  for (const [name, sent, arrives] of forms) {
    const header = ['-H', `${name}: ${sent}`]
    await proxy.curl(...VIA_PROXY, ...header, `https://api.test:${origin.port}/?key=${PLACEHOLDER}`)
    t.strictSame(origin.last(name), [arrives], `${name}: ${sent}`)
    t.equal(origin.seen.at(-1)?.url, `/?key=${PLACEHOLDER}`)
    await proxy.curl(...VIA_PROXY, ...header, `http://api.test:${plain.port}/`)
    t.strictSame(plain.last(name), [sent], 'not over plain HTTP')
  }
})

t.test('a rule counts before a placeholder, and of two secrets each has its own', async (t) => {
  const proxy = await startProxy(t, {
    secrets: { KEY, TWO: { ...KEY, env: 'TWO', placeholder: 'placeholder-two' } },
    env: { KEY: SECRET, TWO: 'second' },
    headers: { 'api.test': { set: { 'X-Api-Key': 'rule' } } },
  })
  const origin = await secureOrigin(t, proxy, 'api.test')
  await proxy.curl(
    ...VIA_PROXY,
    '-H',
    `X-Api-Key: ${PLACEHOLDER}`,
    '-H',
    'Authorization: Bearer placeholder-two',
    `https://api.test:${origin.port}/`,
  )
  t.strictSame(origin.last('x-api-key'), ['rule'])
  t.strictSame(origin.last('authorization'), ['Bearer second'])
})

t.test('what cannot be had or sent is told all at once, by name and never by value', async (t) => {
  const dir = t.testdir({
    empty: '\n',
    lines: `${SECRET}\nmore\n`,
    open: SECRET,
    good: `${SECRET}\n`,
    snow: '☃',
  })
  for (const name of ['empty', 'lines', 'good', 'snow']) chmodSync(join(dir, name), 0o600)
  chmodSync(join(dir, 'open'), 0o604)
  mkdirSync(join(dir, 'folder'))
  symlinkSync('good', join(dir, 'link'))
  writeFileSync(join(dir, 'large'), 'x'.repeat(40_000), { mode: 0o600 })
  const file = (name: string): SecretSource => ({ hosts: ['api.test'], file: join(dir, name) })
  const variable = (env: string): SecretSource => ({ hosts: ['api.test'], env })
  const env = { SET: SECRET, EMPTY: '', LINE: `${SECRET}\r\n`, NUL: `${SECRET}\0`, BLANK: `${SECRET} ` }
  const sources: Config['secrets'] = {
    SET: variable('SET'),
    UNSET: variable('UNSET'),
    WRONG: variable('hunter2'),
    EMPTY: variable('EMPTY'),
    LINE: variable('LINE'),
    NUL: variable('NUL'),
    BLANK: variable('BLANK'),
    GOOD: file('good'),
    LINK: file('link'),
    ...Object.fromEntries(
      ['absent', 'folder', 'empty', 'lines', 'open', 'large', 'snow'].map((name) => [
        `F_${name}`,
        file(name),
      ]),
    ),
  }
  const error: unknown = await resolveSecrets(sources, env).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  t.equal(codeOf(error), 'SECRETS_UNRESOLVED')
  t.strictSame(
    reasonOf(error)
      .replaceAll(dir, 'DIR')
      .replace(/^cannot use the secrets: /, '')
      .split('; ')
      .sort(),
    [
      'BLANK: its value begins or ends with blanks, which HTTP drops',
      "EMPTY: the variable EMPTY is not set in the proxy's environment",
      'F_absent: the file DIR/absent cannot be used: it does not exist',
      'F_empty: its value is empty',
      'F_folder: the file DIR/folder cannot be used: it is not a regular file',
      'F_large: the file DIR/large cannot be used: it is larger than 32768 bytes',
      'F_lines: its value holds a line break or a NUL',
      'F_open: the file DIR/open cannot be used: everybody may read or change it',
      'F_snow: its value holds a character that HTTP headers cannot carry',
      'LINE: its value holds a line break or a NUL',
      'NUL: its value holds a line break or a NUL',
      "UNSET: the variable UNSET is not set in the proxy's environment",
      "WRONG: the variable that secrets.WRONG.env names is not set in the proxy's environment",
      'remove them',
      'run: chmod o-rw',
      'write it on one line',
      'write it on one line',
      'write it on one line',
    ],
  )
  t.notOk(reasonOf(error).includes('hunter2'))
  const secrets = await resolveSecrets({ GOOD: file('good'), LINK: file('link') }, env)
  t.equal(secrets.reveal('GOOD', 'api.test'), SECRET, 'without the line break at its end')
  t.equal(secrets.reveal('LINK', 'api.test'), SECRET)
})

t.test(
  'the holder of the secrets shows them to nobody and gives them out for their hosts alone',
  async (t) => {
    const secrets = await resolveSecrets({ KEY }, { KEY: SECRET })
    t.equal(secrets.reveal('KEY', 'x.api.test'), SECRET)
    for (const host of ['evil.test', 'api.test.evil.test', 'xapi.test', '']) {
      t.throws(() => secrets.reveal('KEY', host), /may not go/, host)
    }
    t.throws(() => secrets.reveal('OTHER', 'api.test'), /may not go/)
    const shown = [
      String(secrets),
      JSON.stringify({ secrets }),
      inspect({ secrets }, { depth: 9, showHidden: true }),
      format('%s %o %O %j', secrets, secrets, secrets, secrets),
      Object.entries(secrets).join(),
    ].join('\n')
    t.notMatch(shown, /hunter2|68 75 6e/)
    t.match(shown, '[secrets]')
  },
)
