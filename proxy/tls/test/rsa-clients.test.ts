import { once } from 'node:events'
import { X509Certificate } from 'node:crypto'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import t from 'tap'
import { openRaw, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'

// A client gets the kind of certificate it can read; ours are ECDSA unless it has only RSA.

const CLIENTS: readonly [what: string, kind: 'ec' | 'rsa', options: ConnectionOptions][] = [
  ['any client', 'ec', {}],
  ['TLS 1.2 with both', 'ec', { maxVersion: 'TLSv1.2' }],
  ['ECDHE with RSA', 'rsa', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' }],
  [
    'DHE or nothing with RSA',
    'rsa',
    { maxVersion: 'TLSv1.2', ciphers: 'DHE-RSA-AES128-GCM-SHA256:AES128-SHA' },
  ],
  ['RSA key transport', 'rsa', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
  ['another curve for its certificates', 'rsa', { maxVersion: 'TLSv1.2', ecdhCurve: 'P-384' }],
  ['TLS 1.2 that signs by RSA', 'rsa', { maxVersion: 'TLSv1.2', sigalgs: 'rsa_pss_rsae_sha256:RSA+SHA256' }],
  ['TLS 1.3 that signs by RSA', 'rsa', { minVersion: 'TLSv1.3', sigalgs: 'rsa_pss_rsae_sha256:RSA+SHA256' }],
]

t.test('each client gets what it can verify', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    response.end('reached')
  })
  const host = `origin.test:${port}`
  for (const [what, kind, options] of CLIENTS) {
    const tunnel = await openRaw(t, proxy.port, `CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    await tunnel.until(/\r\n\r\n$/)
    tunnel.socket.removeAllListeners('data')
    const secure = connectTls({
      ...options,
      socket: tunnel.socket,
      ca: proxy.caPem,
      servername: 'origin.test',
    })
    await once(secure, 'secureConnect')
    t.ok(secure.authorized, what)
    const shown = secure.getPeerX509Certificate() ?? new X509Certificate('')
    t.equal(shown.publicKey.asymmetricKeyType, kind, what)
    t.ok(shown.verify(new X509Certificate(proxy.caPem).publicKey), what)
    secure.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    const [answer] = (await once(secure, 'data')) as [Buffer]
    t.match(String(answer), /^HTTP\/1\.1 200 /, what)
  }
})
