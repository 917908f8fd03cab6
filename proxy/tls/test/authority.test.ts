import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AuthorityError, ensureAuthority, type EnsuredAuthority } from '../authority.js'
import { createLeafIssuer } from '../leaf.js'

const DAY_MS = 24 * 60 * 60 * 1000

function pairIn(t: Test): {
  certPath: string
  keyPath: string
  ensure: (now?: number) => Promise<EnsuredAuthority>
} {
  const certPath = join(t.testdirName, 'certs', 'ca.crt')
  const keyPath = join(t.testdirName, 'certs', 'ca.key')
  t.testdir()
  return {
    certPath,
    keyPath,
    ensure: (now = Date.now()) => ensureAuthority({ certPath, keyPath, now: () => now }),
  }
}

t.test('a new CA has the decided subject, names, uses and modes', async (t) => {
  const { certPath, keyPath, ensure } = pairIn(t)
  const { created, reason, certPem } = await ensure()
  t.equal(created, true)
  t.equal(reason, 'none was there')
  t.equal(readFileSync(certPath, 'utf8'), certPem)
  const cert = new X509Certificate(certPem)
  t.equal(cert.subject, 'O=Discobot Proxy\nCN=Discobot Proxy CA')
  t.equal(cert.subjectAltName, 'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1')
  t.equal(cert.ca, true)
  t.equal(cert.publicKey.asymmetricKeyDetails?.modulusLength, 2048)
  const years = (Date.parse(cert.validTo) - Date.now()) / (365.25 * DAY_MS)
  t.ok(years > 9.9 && years < 10.1, `ends in ${years} years`)
  t.equal(statSync(keyPath).mode & 0o777, 0o600)
  t.equal(statSync(join(certPath, '..')).mode & 0o777, 0o700)
  t.strictSame(readdirSync(join(certPath, '..')).sort(), ['ca.crt', 'ca.key'], 'no temporary file is left')
})

t.test('a usable pair is reused, and a key readable by others is closed to them', async (t) => {
  const { keyPath, ensure } = pairIn(t)
  const first = await ensure()
  chmodSync(keyPath, 0o644)
  const second = await ensure()
  t.equal(second.created, false)
  t.equal(second.certPem, first.certPem)
  t.equal(statSync(keyPath).mode & 0o777, 0o600)
})

t.test('a pair that cannot be used is renewed with the reason, and kept beside the new one', async (t) => {
  const cases: readonly [string, (paths: { certPath: string; keyPath: string }) => void, RegExp][] = [
    [
      'garbage key',
      ({ keyPath }) => writeFileSync(keyPath, 'garbage'),
      /the key is not a valid unencrypted PEM/,
    ],
    [
      'garbage certificate',
      ({ certPath }) => writeFileSync(certPath, 'garbage'),
      /certificate is not valid PEM/,
    ],
    ['empty key', ({ keyPath }) => writeFileSync(keyPath, ''), /the key is not a valid unencrypted PEM/],
  ]
  for (const [name, damage, reason] of cases) {
    await t.test(name, async (t) => {
      const paths = pairIn(t)
      const first = await paths.ensure()
      damage(paths)
      const second = await paths.ensure()
      t.equal(second.created, true)
      t.match(second.reason, reason)
      t.not(second.certPem, first.certPem)
      t.ok(existsSync(`${paths.keyPath}.previous`))
      t.equal((await paths.ensure()).certPem, second.certPem, 'the new pair is then reused')
    })
  }
})

t.test('a key of another certificate is noticed', async (t) => {
  const paths = pairIn(t)
  await paths.ensure()
  const other = await ensureAuthority({
    certPath: join(t.testdirName, 'other', 'ca.crt'),
    keyPath: join(t.testdirName, 'other', 'ca.key'),
    now: Date.now,
  })
  writeFileSync(paths.keyPath, other.keyPem)
  t.equal((await paths.ensure()).reason, 'the key does not match the certificate')
})

t.test('a CA with less than 30 days left is renewed, one with more is not', async (t) => {
  const { ensure } = pairIn(t)
  const { certPem } = await ensure()
  const ends = Date.parse(new X509Certificate(certPem).validTo)
  t.equal((await ensure(ends - 31 * DAY_MS)).created, false)
  t.match((await ensure(ends - 29 * DAY_MS)).reason, /the certificate ends on/)
})

t.test('a leaf certificate instead of a CA is refused', async (t) => {
  const paths = pairIn(t)
  const ca = await paths.ensure()
  const issuer = createLeafIssuer(ca, Date.now)
  writeFileSync(paths.certPath, issuer.issue('example.com'))
  writeFileSync(paths.keyPath, issuer.keyPem)
  t.equal((await paths.ensure()).reason, 'the certificate is not a CA')
})

t.test('a folder that cannot be written is an error that names it', async (t) => {
  t.testdir({ certs: 'a file where the folder should be' })
  const dir = join(t.testdirName, 'certs')
  const attempt = ensureAuthority({
    certPath: join(dir, 'ca.crt'),
    keyPath: join(dir, 'ca.key'),
    now: Date.now,
  })
  await t.rejects(attempt, AuthorityError)
  await t.rejects(attempt, { message: new RegExp(`cannot write the CA to ${dir}`) })
})

t.test('leaves are right for names, long names, IDNs and addresses', async (t) => {
  const { ensure } = pairIn(t)
  const ca = await ensure()
  const issuer = createLeafIssuer(ca, Date.now)
  const long = `${'a'.repeat(60)}.${'b'.repeat(60)}.example.com`
  const cases: readonly [
    host: string,
    altName: string,
    check: (cert: X509Certificate) => string | undefined,
  ][] = [
    ['example.com', 'DNS:example.com', (cert) => cert.checkHost('example.com')],
    [
      'under_score.example.com',
      'DNS:under_score.example.com',
      (cert) => cert.checkHost('under_score.example.com'),
    ],
    [long, `DNS:${long}`, (cert) => cert.checkHost(long)],
    ['xn--bcher-kva.example', 'DNS:xn--bcher-kva.example', (cert) => cert.checkHost('xn--bcher-kva.example')],
    ['192.0.2.1', 'IP Address:192.0.2.1', (cert) => cert.checkIP('192.0.2.1')],
    ['2001:db8::1', 'IP Address:2001:DB8:0:0:0:0:0:1', (cert) => cert.checkIP('2001:db8::1')],
    ['::1', 'IP Address:0:0:0:0:0:0:0:1', (cert) => cert.checkIP('::1')],
  ]
  for (const [host, altName, check] of cases) {
    const cert = new X509Certificate(issuer.issue(host))
    t.equal(cert.subjectAltName, altName)
    t.ok(check(cert), `valid for ${host}`)
    t.ok(cert.verify(new X509Certificate(ca.certPem).publicKey), 'signed by the CA')
    t.ok(cert.checkIssued(new X509Certificate(ca.certPem)), 'issued by the CA')
    t.equal(cert.ca, false)
    t.equal(cert.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
    const [from, to] = [Date.parse(cert.validFrom), Date.parse(cert.validTo)]
    t.ok(Math.abs(Date.now() - 60 * 60 * 1000 - from) < 5_000, 'backdated an hour')
    t.ok(Math.abs(Date.now() + 7 * DAY_MS - to) < 5_000, 'ends in 7 days')
  }
  const serials = new Set(
    Array.from({ length: 50 }, () => new X509Certificate(issuer.issue('a.example')).serialNumber),
  )
  t.equal(serials.size, 50, 'serial numbers do not repeat')
})
