import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { ensureAuthority } from '../../../proxy/tls/authority.js'
import { installInSystem } from '../../boot/steps/trust.js'
import { ChildRegistry } from '../../process/children.js'
import { commandRunner } from '../command.js'
import { withCertificate } from '../java-trust-store.js'

// Java's store gets our certificate as its own tool would write it, and no JVM is waited for.

/** Written by keytool of OpenJDK 17: the entries `debian:two.pem` and `debian:one.pem`, in this order. */
const TWO_AND_ONE = Buffer.from(
  `
  /u3+7QAAAAIAAAACAAAAAgAOZGViaWFuOnR3by5wZW0AAAGiLz0JBQAFWC41MDkAAAF2MIIBcjCCARmgAwIBAgIUeCM7rOkz4cNITVwR
  tvUy4M8WdjcwCgYIKoZIzj0EAwIwDjEMMAoGA1UEAwwDdHdvMCAXDTI2MTIwMTAxMzQxN1oYDzIxMjYxMTA3MDEzNDE3WjAOMQwwCgYD
  VQQDDAN0d28wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATU3HUpBhVcmAQ9CQxJpLFstzl0JCuNdWTRc3mbpkmbo+VEXd2Hz4ICr1mH
  SdSo/O0W6Zt9nA8vnDd84NJPNoA3o1MwUTAdBgNVHQ4EFgQUHMUzKzOJbFjJ61GfN2jyE1QkVOcwHwYDVR0jBBgwFoAUHMUzKzOJbFjJ
  61GfN2jyE1QkVOcwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAXUNH1xVR4pFw4gISSRo8H6oqj1XJTy3HiziLsCNYr
  MAIgYgAXP0i7RDyk/KU+NngtJUXBgWxXeRhAnpl+GxfHMc8AAAACAA5kZWJpYW46b25lLnBlbQAAAaIvPQZTAAVYLjUwOQAAAXcwggFz
  MIIBGaADAgECAhRDKIbBapaoYnHGF/kEIRLe0viAezAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANvbmUwIBcNMjYxMjAxMDEzNDE3WhgP
  MjEyNjExMDcwMTM0MTdaMA4xDDAKBgNVBAMMA29uZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNiGocnbrYCom0AvzbdVIOxbPI1W
  NY3UveRuctsUaXzby0SesJ7/bH/Rx6HUR72Ev2NaLXgpiy5HWt5KsxozWnmjUzBRMB0GA1UdDgQWBBSogsldaZnT2Rkqpf7bKQtn0WXX
  uTAfBgNVHSMEGDAWgBSogsldaZnT2Rkqpf7bKQtn0WXXuTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIEgenww9DWfc
  ISbaAvIzPvebWmO4gofgwnxyHnNC7M5UAiEA/L5eIjH3Sc7gx5AwIoZ9E2wAZhOsXK1XgqG0RzCqRM4WTgIuEDGEfhLkxWfqsr+MM2Uw
  XQ==
`,
  'base64',
)
const SECOND = { alias: 'debian:one.pem', at: TWO_AND_ONE.indexOf('debian:one.pem') }
/** Behind the alias: eight bytes of time, the type with its length, and the length of the certificate. */
const CERTIFICATE_AT = SECOND.at + SECOND.alias.length + 8 + 7 + 4

function sealed(content: Buffer, password = 'changeit'): Buffer {
  const key = Buffer.from([...password].flatMap((letter) => [0, letter.charCodeAt(0)]))
  const digest = createHash('sha1').update(key).update('Mighty Aphrodite').update(content).digest()
  return Buffer.concat([content, digest])
}

/** The first entry alone. */
function firstAlone(password?: string): Buffer {
  const content = Buffer.from(TWO_AND_ONE.subarray(0, SECOND.at - 6))
  content.writeUInt32BE(1, 8)
  return sealed(content, password)
}

const one = TWO_AND_ONE.subarray(CERTIFICATE_AT, -20)
const addedAt = Number(TWO_AND_ONE.readBigUInt64BE(SECOND.at + SECOND.alias.length))

void t.test("what is written is what Java's own tool writes, byte for byte", (t) => {
  t.ok(withCertificate(firstAlone(), SECOND.alias, one, addedAt)?.equals(TWO_AND_ONE))
  t.equal(withCertificate(TWO_AND_ONE, SECOND.alias, one, 1), TWO_AND_ONE, 'it is there already')
  const empty = sealed(Buffer.concat([TWO_AND_ONE.subarray(0, 8), Buffer.alloc(4)]))
  t.equal(withCertificate(empty, SECOND.alias, one, 1)?.readUInt32BE(8), 1)
  t.end()
})

void t.test('a store that is not understood whole is left as it is', (t) => {
  const flipped = Buffer.from(TWO_AND_ONE)
  flipped.writeUInt8(flipped.readUInt8(CERTIFICATE_AT) ^ 1, CERTIFICATE_AT)
  const content = TWO_AND_ONE.subarray(0, -20)
  const patched = (value: number, at: number): Buffer => {
    const changed = Buffer.from(content)
    changed.writeUInt32BE(value, at)
    return sealed(changed)
  }
  const stores: Readonly<Record<string, Buffer>> = {
    'a bit is another': flipped,
    'another password': firstAlone('of the administrator'),
    'PKCS #12': sealed(Buffer.concat([Buffer.from([0x30, 0x82, 0x05, 0x00]), content.subarray(4)])),
    'version 1': patched(1, 4),
    'a private key': patched(1, 12),
    'fewer entries than it says': patched(3, 8),
    'more than it says': patched(1, 8),
    'a length beyond the end': patched(0x7fffffff, CERTIFICATE_AT - 4),
    empty: Buffer.alloc(0),
    short: Buffer.from('feedfeed', 'hex'),
  }
  for (const [what, store] of Object.entries(stores))
    t.equal(withCertificate(store, 'debian:new.pem', one, 1), undefined, what)
  t.equal(withCertificate(TWO_AND_ONE, 'debian:two.pem', one, 1), undefined, 'the name is taken by another')
  t.end()
})

const STORE = 'etc/ssl/certs/java/cacerts'
const run = commandRunner(new ChildRegistry())

/** A Debian with a Java, whose tool only says that it was run, and adds to the bundle. */
async function debianWithJava(t: Test, files: Readonly<Record<string, string | Buffer>>) {
  const root = t.testdir()
  const put = (path: string, content: string | Buffer): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  put('etc/ssl/certs/ca-certificates.crt', '# of the system\n')
  put(
    'usr/sbin/update-ca-certificates',
    `#!/bin/sh\ntouch ${root}/ran\ncat ${root}/usr/local/share/ca-certificates/* >> ${root}/etc/ssl/certs/ca-certificates.crt\n`,
  )
  chmodSync(join(root, 'usr/sbin/update-ca-certificates'), 0o755)
  put('etc/ca-certificates/update.d/jks-keystore', '#!/bin/sh\n')
  put('etc/default/cacerts', 'cacerts_updates=yes\n')
  put(STORE, TWO_AND_ONE)
  for (const [path, content] of Object.entries(files)) put(path, content)
  const { certPem } = await ensureAuthority({
    certPath: join(root, 'ca', 'ca.crt'),
    keyPath: join(root, 'ca', 'ca.key'),
    now: Date.now,
  })
  const { remark } = await installInSystem(
    { root, run, inherited: {} },
    certPem,
    new AbortController().signal,
  )
  const after = readFileSync(join(root, STORE))
  return { remark, ran: existsSync(join(root, 'ran')), after }
}

void t.test('a container with a Java is trusted without the tool, and says so', async (t) => {
  const { remark, ran, after } = await debianWithJava(t, {})
  t.notOk(ran)
  t.match(remark, /^added to \S+ca-certificates\.crt and Java's store$/)
  t.equal(after.readUInt32BE(8), 3)
  t.ok(after.includes('debian:discobot-proxy-ca.pem'), 'by the name that the hook would give it')
})

void t.test('where the hook would do something else, it is the hook that does it', async (t) => {
  for (const [what, files] of Object.entries({
    'another hook': { 'etc/ca-certificates/update.d/mono-keystore': '#!/bin/sh\n' },
    'a password of its own': { [STORE]: firstAlone('of the administrator') },
    'no settings': { 'etc/default/cacerts': '# nothing\n' },
  })) {
    const before = files[STORE as keyof typeof files] ?? TWO_AND_ONE
    const { ran, after } = await debianWithJava(t, files)
    t.ok(ran, what)
    t.ok(after.equals(before as Buffer), what)
  }
  const { remark, ran, after } = await debianWithJava(t, { 'etc/default/cacerts': 'cacerts_updates=no\n' })
  t.notOk(ran, 'the hook would do nothing either')
  t.ok(after.equals(TWO_AND_ONE))
  t.notMatch(remark, /Java/)
})
