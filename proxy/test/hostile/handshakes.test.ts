import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { createLeafIssuer } from '../../tls/leaf.js'
import { openRaw, startHttpsOrigin, startProxy, type TestProxy } from '../../../test/lab/harness.js'

// Handshakes that nobody needs, from clients and from upstream: each costs its own connection, and no name that is not
// a host's gets a certificate.

async function tunnel(t: Test, proxy: TestProxy, at: string): Promise<Socket> {
  const raw = await openRaw(t, proxy.port, `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
  await raw.until(/\r\n\r\n$/)
  raw.socket.removeAllListeners('data')
  return raw.socket
}

/** A client's TLS in a tunnel; resolves with what ended the handshake where it fails. */
async function secured(
  t: Test,
  proxy: TestProxy,
  at: string,
  options: ConnectionOptions,
): Promise<TLSSocket | string> {
  const socket = connectTls({
    socket: await tunnel(t, proxy, at),
    ca: proxy.caPem,
    checkServerIdentity: () => undefined,
    ...options,
  })
  return new Promise((resolve) => {
    socket.once('secureConnect', () => resolve(socket))
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    socket.once('close', () => resolve('closed'))
  })
}

t.test('a client cannot renegotiate, and others are served', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) =>
    response.end('reached'),
  )
  const at = `origin.test:${port}`
  const client = await secured(t, proxy, at, { servername: 'origin.test', maxVersion: 'TLSv1.2' })
  if (typeof client === 'string') throw new Error(client)
  const refused = new Promise<string>((resolve) => {
    client.renegotiate({ rejectUnauthorized: false }, (error) => resolve(error?.message ?? 'done'))
    client.once('error', (error: Error) => resolve(error.message))
    client.once('close', () => resolve('closed'))
  })
  // The handshake goes out with what is written next.
  client.write(`GET / HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
  t.match(await refused, /no[ _]renegotiation|handshake failure|closed/i)
  t.equal((await proxy.curl('-x', 'http://$PROXY', `https://${at}/`)).body, 'reached')
})

t.test('upstream cannot have us do one handshake after the other', async (t) => {
  const proxy = await startProxy(t)
  const dir = mkdtempSync(join(tmpdir(), 'discobot-s-server-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  writeFileSync(join(dir, 'key.pem'), issuer.keyPem)
  writeFileSync(join(dir, 'cert.pem'), issuer.issue('origin.test'))
  const server = spawn(
    'openssl',
    ['s_server', '-accept', '127.0.0.1:0', '-tls1_2', '-key', 'key.pem', '-cert', 'cert.pem'],
    {
      cwd: dir,
    },
  )
  t.teardown(() => server.kill('SIGKILL'))
  let text = ''
  const said = (pattern: RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const [, found = ''] = pattern.exec(text) ?? []
        if (pattern.test(text)) resolve(found)
      }
      for (const pipe of [server.stdout, server.stderr]) {
        pipe.on('data', (chunk: Buffer) => {
          text += chunk.toString()
          look()
        })
      }
      server.once('close', () => reject(new Error(text)))
      look()
    })
  const port = await said(/ACCEPT 127\.0\.0\.1:(\d+)/)
  const answer = proxy.curl('-x', 'http://$PROXY', `https://origin.test:${port}/`)
  await said(/(GET \/ HTTP)/)
  // To its own prompt: renegotiate.
  server.stdin.write('r\n')
  t.equal((await answer).status, 502)
  t.match(text, /no renegotiation/i)
})

t.test('old versions of TLS are refused on both sides', async (t) => {
  const proxy = await startProxy(t)
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  for (const version of ['TLSv1', 'TLSv1.1'] as const) {
    const old = { minVersion: version, maxVersion: version, ciphers: 'ALL:@SECLEVEL=0' } as const
    t.match(
      await secured(t, proxy, 'origin.test:443', { ...old, servername: 'origin.test' }),
      /PROTOCOL|closed|ECONN/,
    )
    const server = createHttpsServer({ key: issuer.keyPem, cert: issuer.issue('origin.test'), ...old })
    server.on('tlsClientError', () => undefined)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => void server.close())
    const { port } = server.address() as AddressInfo
    for (const http of ['--http1.1', '--http2'])
      t.equal((await proxy.curl(http, '-x', 'http://$PROXY', `https://origin.test:${port}/`)).status, 502)
  }
})

t.test('a session that was resumed for one host says nothing of another', async (t) => {
  const proxy = await startProxy(t)
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  let resumed = 0
  const server = createHttpsServer(
    // One certificate and one key of tickets for all names, and a new connection for each request.
    { key: issuer.keyPem, cert: issuer.issue('one.test'), ticketKeys: Buffer.alloc(48, 7) },
    (request, response) => {
      if ((request.socket as TLSSocket).isSessionReused()) resumed += 1
      response.writeHead(200, { Connection: 'close' }).end('reached')
    },
  )
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  const { port } = server.address() as AddressInfo
  for (const http of ['--http1.1', '--http2']) {
    for (const [host, status] of [
      ['one.test', 200],
      ['one.test', 200],
      ['two.test', 502],
      ['one.test', 200],
      ['127.0.0.1', 502],
      ['two.test', 502],
    ] as const)
      t.equal(
        (await proxy.curl(http, '-x', 'http://$PROXY', `https://${host}:${port}/`)).status,
        status,
        host,
      )
  }
  t.ok(resumed > 0, `${resumed} were resumed`)
})

t.test("a client's session of one host does not open another", async (t) => {
  const proxy = await startProxy(t)
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const first = await secured(t, proxy, 'one.test:443', { servername: 'one.test', maxVersion })
    if (typeof first === 'string') throw new Error(first)
    const session = await new Promise<Buffer>((resolve) => {
      if (maxVersion === 'TLSv1.2') resolve(first.getSession() ?? Buffer.alloc(0))
      else first.once('session', resolve)
    })
    const second = await secured(t, proxy, 'two.test:443', { servername: 'two.test', maxVersion, session })
    if (typeof second === 'string') throw new Error(second)
    t.equal(second.isSessionReused(), false, maxVersion)
    t.equal(second.getPeerCertificate().subject.CN, 'two.test')
  }
})

const ALERT = 0x15
const CERTIFICATE = 11
const HELLO_DONE = 14

/** What the server said up to now: its handshake messages (RFC 5246, 7.4), or that it refuses. */
function flight(bytes: Buffer): { readonly over: boolean; readonly certificate?: X509Certificate } {
  const parts: Buffer[] = []
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) {
    if (bytes[at] === ALERT) return { over: true }
    parts.push(bytes.subarray(at + 5, at + 5 + bytes.readUInt16BE(at + 3)))
  }
  const messages = Buffer.concat(parts)
  let certificate: X509Certificate | undefined
  for (let at = 0; at + 4 <= messages.length; at += 4 + messages.readUIntBE(at + 1, 3)) {
    if (messages[at] === HELLO_DONE)
      return { over: true, ...(certificate === undefined ? {} : { certificate }) }
    // The length of the message, of all certificates, and of the first.
    const der = (): Buffer => messages.subarray(at + 10, at + 10 + messages.readUIntBE(at + 7, 3))
    if (messages[at] === CERTIFICATE) certificate = new X509Certificate(der())
  }
  return { over: false }
}

/** A hello whose server name is replaced by other bytes, of any length, and of any number of names. */
function helloWith(hello: Buffer, list: Buffer): Buffer {
  const at = hello.indexOf(Buffer.from('placeholder.test'))
  // The extension's type and length, the list's length, the name's type and length (RFC 6066, 3).
  const begin = at - 9
  const oldLength = hello.readUInt16BE(begin + 2)
  const extension = Buffer.concat([Buffer.from([0, 0, list.length >> 8, list.length & 0xff]), list])
  const changed = Buffer.concat([hello.subarray(0, begin), extension, hello.subarray(begin + 4 + oldLength)])
  const grown = changed.length - hello.length
  changed.writeUInt16BE(hello.readUInt16BE(3) + grown, 3)
  changed.writeUIntBE(hello.readUIntBE(6, 3) + grown, 6, 3)
  // Session, ciphers and compression come before the extensions.
  let place = 9 + 2 + 32
  place += 1 + changed.readUInt8(place)
  place += 2 + changed.readUInt16BE(place)
  place += 1 + changed.readUInt8(place)
  changed.writeUInt16BE(hello.readUInt16BE(place) + grown, place)
  return changed
}

function names(...texts: readonly string[]): Buffer {
  const each = texts.map((text) => {
    const bytes = Buffer.from(text, 'latin1')
    return Buffer.concat([Buffer.from([0, bytes.length >> 8, bytes.length & 0xff]), bytes])
  })
  const all = Buffer.concat(each)
  return Buffer.concat([Buffer.from([all.length >> 8, all.length & 0xff]), all])
}

/** One name of a host, or one address, or no certificate at all. */
const MADE_FOR = /^(|DNS:[a-z0-9_.-]{1,253}|IP Address:[0-9A-F.:]+)$/

t.test('no server name, however odd, gets a certificate that is not a host\u2019s', async (t) => {
  const proxy = await startProxy(t)
  const hello = await new Promise<Buffer>((resolve) => {
    const nowhere = new Duplex({ read: () => undefined, write: (first: Buffer) => resolve(first) })
    const client = connectTls({
      socket: nowhere,
      servername: 'placeholder.test',
      maxVersion: 'TLSv1.2',
    })
    client.on('error', () => undefined)
  })
  const lists: readonly (readonly [string, Buffer])[] = [
    ['an address', names('127.0.0.1')],
    ['an address of IPv6', names('::1')],
    ['a NUL', names('origin.test\0.other.test')],
    ['255 bytes', names('a'.repeat(255))],
    ['a host of 253', names(`${'a.'.repeat(126)}t`)],
    ['60 KB', names('a'.repeat(15_000))],
    ['two names', names('origin.test', 'other.test')],
    ['nothing', names('')],
    ['no names', Buffer.from([0, 0])],
    ['a list longer than it is', Buffer.from([0xff, 0xff, 0, 0, 1, 0x61])],
    ['bytes beyond ASCII', names('\xff\xfe.test')],
    ['UTF-8', names('b\u00c3\u00bccher.test')],
    ['an underscore', names('_dns.origin.test')],
    ['a wildcard', names('*.test')],
    ['a wildcard alone', names('*')],
    ['lines', names('origin.test\r\nX: 1')],
    ['a URL', names('https://origin.test/')],
    ['a comma', names('origin.test,DNS:other.test')],
    ['dots', names('..')],
    ['another kind of name', Buffer.from([0, 4, 7, 0, 1, 0x61])],
  ]
  for (const [what, list] of lists) {
    const socket = await tunnel(t, proxy, 'origin.test:443')
    const said = new Promise<ReturnType<typeof flight>>((resolve) => {
      let bytes = Buffer.alloc(0)
      socket.on('data', (chunk: Buffer) => {
        bytes = Buffer.concat([bytes, chunk])
        const told = flight(bytes)
        if (told.over) resolve(told)
      })
      socket.once('close', () => resolve({ over: true }))
    })
    socket.write(helloWith(hello, list))
    const { certificate } = await said
    t.match(certificate?.subjectAltName ?? '', MADE_FOR, what)
    socket.destroy()
  }
  const after = await secured(t, proxy, 'origin.test:443', { servername: 'origin.test' })
  t.equal(typeof after, 'object', 'and it goes on')
})
