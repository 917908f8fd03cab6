import { generateKeyPairSync } from 'node:crypto'
import { createSecureServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { startProxy, type TestProxy } from '../../../test/lab/harness.js'
import { NAME, oddCertificate, type OddCertificate, type Oddities } from './odd-certificate.js'

// A server is who its certificate says, by the one name it was asked by: nothing that reads like that name is it.

interface Site {
  readonly port: number
  readonly asked: () => number
}

async function site(t: Test, { certPem, keyPem }: OddCertificate, chain = ''): Promise<Site> {
  let asked = 0
  // Level 0 lets a server have keys that nobody should take.
  const server = createSecureServer(
    { key: keyPem, cert: certPem + chain, allowHTTP1: true, ciphers: 'DEFAULT:@SECLEVEL=0' },
    (_request, response) => {
      asked += 1
      response.end('reached')
    },
  )
  server.on('tlsClientError', () => undefined).on('sessionError', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  return { port: (server.address() as AddressInfo).port, asked: () => asked }
}

async function ask(
  proxy: TestProxy,
  host: string,
  { port }: Site,
  version: '--http1.1' | '--http2',
): Promise<{ readonly status: number; readonly body: string }> {
  return proxy.curl(version, '-i', '-x', 'http://$PROXY', `https://${host}:${port}/`)
}

const NOBODY = { certPem: '', keyPem: '' }
const dns = (...names: string[]): Oddities => ({ names: names.map(NAME.dns) })
const many = (count: number): string[] => Array.from({ length: count }, (_, at) => `host-${at}.other.test`)

/** Host → certificate → whether it is that host's. */
const ROWS: readonly (readonly [what: string, host: string, odd: Oddities, right: boolean])[] = [
  ['its name', 'origin.test', dns('origin.test'), true],
  ['its name in upper case', 'origin.test', dns('ORIGIN.Test'), true],
  ['its name among others', 'origin.test', dns(...many(100), 'origin.test'), true],
  ['its name behind 2,000 others', 'origin.test', dns(...many(2_000), 'origin.test'), true],
  ['its name behind more than a handshake takes', 'origin.test', dns(...many(10_000), 'origin.test'), false],
  ['2,000 others', 'origin.test', dns(...many(2_000)), false],
  ['a wildcard above it', 'a.origin.test', dns('*.origin.test'), true],
  ['a wildcard two labels above it', 'a.b.origin.test', dns('*.origin.test'), false],
  ['a wildcard beside it', 'origin.test', dns('*.origin.test'), false],
  ['a wildcard for a whole domain of the top', 'origin.test', dns('*.test'), false],
  ['a part of a wildcard for that', 'origin.test', dns('o*.test'), false],
  ['a wildcard for everything', 'origin.test', dns('*'), false],
  ['wildcards in all labels', 'a.origin.test', dns('*.*.test'), false],
  ['a wildcard within', 'a.b.test', dns('a.*.test'), false],
  ['punycode of its name', 'xn--bcher-kva.test', dns('xn--bcher-kva.test'), true],
  ['its name in UTF-8', 'xn--bcher-kva.test', dns('b\u00c3\u00bccher.test'), false],
  ['a NUL behind its name', 'origin.test', dns('origin.test\0.other.test'), false],
  ['a NUL behind its common name', 'origin.test', { commonName: 'origin.test\0.other.test' }, false],
  ['a name with a second one in it', 'origin.test', dns('other.test, DNS:origin.test'), false],
  ['a quote in a name', 'origin.test', dns('other.test", DNS:origin.test, DNS:"x'), false],
  ['a URI with a name in it', 'origin.test', { names: [NAME.uri('http://x/, DNS:origin.test')] }, false],
  ['a URI of its name', 'origin.test', { names: [NAME.uri('https://origin.test/')] }, false],
  ['an address of mail at its name', 'origin.test', { names: [NAME.email('root@origin.test')] }, false],
  ['mail with a name in it', 'origin.test', { names: [NAME.email('x, DNS:origin.test')] }, false],
  ['a common name with another in it', 'origin.test', { commonName: 'other.test\nCN=origin.test' }, false],
  [
    'a common name beside other names',
    'origin.test',
    { commonName: 'origin.test', ...dns('other.test') },
    false,
  ],
  ['no name', 'origin.test', {}, false],
  ['an empty name', 'origin.test', dns(''), false],
  ['a dot', 'origin.test', dns('.'), false],
  ['a name that ends in its', 'origin.test', dns('not-origin.test', 'xorigin.test', 'a.origin.test'), false],
  ['lines in a name', 'origin.test', dns('other.test\r\nX-Injected: 1\r\n\r\n'), false],
  ['its address', '127.0.0.1', { names: [NAME.address(127, 0, 0, 1)] }, true],
  ['its address as a name', '127.0.0.1', dns('127.0.0.1'), false],
  ['its address as a common name', '127.0.0.1', { commonName: '127.0.0.1' }, false],
  ['its address and more', '127.0.0.1', { names: [NAME.address(127, 0, 0, 1, 0)] }, false],
  [
    'its address in one of IPv6',
    '127.0.0.1',
    { names: [NAME.address(...Array<number>(10).fill(0), 255, 255, 127, 0, 0, 1)] },
    false,
  ],
  ['its name, expired', 'origin.test', { ...dns('origin.test'), from: -9, until: -1 }, false],
  ['its name, to come', 'origin.test', { ...dns('origin.test'), from: 1, until: 9 }, false],
  ['its name, for another use', 'origin.test', { ...dns('origin.test'), otherUse: true }, false],
  ['its name, signed by itself', 'origin.test', { ...dns('origin.test'), selfSigned: true }, false],
  ['its name, with SHA-1', 'origin.test', { ...dns('origin.test'), sha1: true }, false],
  [
    'its name, with what nobody knows',
    'origin.test',
    { ...dns('origin.test'), unknownCritical: true },
    false,
  ],
  [
    'its name, with a key of 512 bits',
    'origin.test',
    { ...dns('origin.test'), key: generateKeyPairSync('rsa', { modulusLength: 512 }) },
    false,
  ],
]

t.test('no certificate but that of the host it asks for is taken, and nothing is sent before', async (t) => {
  const lines: string[] = []
  const log = (...given: unknown[]): void => void lines.push(JSON.stringify(given))
  const logger = { error: log, warn: log, info: log, debug: log, isLevelEnabled: () => true }
  const proxy = await startProxy(t, { logger: logger as never })
  for (const [what, host, odd, right] of ROWS) {
    const origin = await site(t, oddCertificate(proxy.originAuthority, odd))
    for (const version of ['--http1.1', '--http2'] as const) {
      const { status, body } = await ask(proxy, host, origin, version)
      t.equal(status, right ? 200 : 502, `${what}, ${version}`)
      if (!right && !what.includes('handshake')) t.match(body, /error=tls_(certificate|protocol)_error/, what)
      t.ok(body.length < 4096, `${what}, ${version}: an answer of ${body.length} bytes`)
      t.notMatch(body, /X-Injected: 1\r?\n/, what)
    }
    t.equal(origin.asked(), right ? 2 : 0, what)
  }
  const longest = Math.max(...lines.map(({ length }) => length))
  t.ok(longest < 4096, `a line in the log of ${longest} bytes`)
})

t.test('an authority signs for what it may sign for, and a server for nobody', async (t) => {
  const narrow = oddCertificate(NOBODY, {
    commonName: 'narrow',
    authorityFor: 'allowed.test',
    selfSigned: true,
  })
  const proxy = await startProxy(t, { upstreamCa: [narrow.certPem] })
  const server = oddCertificate(proxy.originAuthority, dns('origin.test'))
  const below = oddCertificate(proxy.originAuthority, { commonName: 'below', authorityFor: 'origin.test' })
  for (const [what, host, issuer, status] of [
    ['within its domain', 'a.allowed.test', narrow, 200],
    ['outside of it', 'origin.test', narrow, 502],
    ['a server', 'origin.test', server, 502],
    ['an authority below one that may have none', 'a.origin.test', below, 502],
  ] as const) {
    const origin = await site(t, oddCertificate(issuer, dns(host)), issuer.certPem)
    const answer = await ask(proxy, host, origin, '--http2')
    t.equal(answer.status, status, what)
    if (status === 502) t.match(answer.body, /error=tls_certificate_error/, what)
  }
})
