import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { dataPaths } from '../../../../config/model/paths.js'
import type { BootFindings } from '../../findings/findings.js'
import { holdsCertificate, installInSystem, TrustStoreError, trustStep } from '../trust.js'
import { ensureAuthority } from '../../../../proxy/tls/authority.js'
import { OUR_SUBJECT_HASH } from '../../../system/certificate-folder.js'
import { ChildRegistry } from '../../../process/children.js'
import { commandRunner } from '../../../system/command.js'

const run = commandRunner(new ChildRegistry())
const signal = new AbortController().signal

function pem(text: string, lineLength = 64, lineEnd = '\n'): string {
  const body =
    Buffer.from(text.repeat(20))
      .toString('base64')
      .match(new RegExp(`.{1,${lineLength}}`, 'g')) ?? []
  return ['-----BEGIN CERTIFICATE-----', ...body, '-----END CERTIFICATE-----', ''].join(lineEnd)
}

const OURS = pem('ours')
const SYSTEM = pem('system')

function put(root: string, path: string, content: string, mode = 0o644): string {
  const file = join(root, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, content)
  chmodSync(file, mode)
  return file
}

/** Does what the real ones do, below `root`, and counts how often. */
function debian(root: string): void {
  const bundle = put(root, '/etc/ssl/certs/ca-certificates.crt', SYSTEM)
  const script = `#!/bin/sh\necho run >> ${root}/runs\nsystem=$(head -c ${SYSTEM.length} ${bundle})\n{ echo "$system"; cat ${root}/usr/local/share/ca-certificates/*.crt; } > ${bundle}.new && mv ${bundle}.new ${bundle}\n`
  put(root, '/usr/sbin/update-ca-certificates', script, 0o755)
}

function fedora(root: string): void {
  const bundle = put(root, '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', SYSTEM)
  const script = `#!/bin/sh\n[ "$1" = extract ] || exit 9\ncat ${root}/etc/pki/ca-trust/source/anchors/*.crt >> ${bundle}\n`
  put(root, '/usr/bin/update-ca-trust', script, 0o755)
}

void t.test(
  'Debian and Alpine: installed once, and the tool is not run again while the bundle holds it',
  async (t) => {
    const root = t.testdir()
    debian(root)
    const first = await installInSystem({ root, run, inherited: {} }, OURS, signal)
    t.equal(first.files.caFile, join(root, '/usr/local/share/ca-certificates/discobot-proxy-ca.crt'))
    t.equal(statSync(first.files.caFile).mode & 0o777, 0o644)
    const bundle = readFileSync(first.files.bundleFile, 'utf8')
    t.ok(holdsCertificate(bundle, OURS) && holdsCertificate(bundle, SYSTEM))
    const second = await installInSystem({ root, run, inherited: {} }, OURS, signal)
    t.equal(second.remark, 'already trusted')
    t.equal(readFileSync(join(root, 'runs'), 'utf8'), 'run\n')
  },
)

void t.test(
  'our own CA is added without the tool, just as the tool would, unless others have hooks',
  async (t) => {
    const root = t.testdir()
    debian(root)
    const { certPem } = await ensureAuthority({
      certPath: join(root, 'ca', 'ca.crt'),
      keyPath: join(root, 'ca', 'ca.key'),
      now: Date.now,
    })
    const { files } = await installInSystem({ root, run, inherited: {} }, certPem, signal)
    t.notOk(existsSync(join(root, 'runs')), 'the tool was not needed')
    const bundle = readFileSync(files.bundleFile, 'utf8')
    t.ok(holdsCertificate(bundle, certPem) && holdsCertificate(bundle, SYSTEM))
    const { stdout: hash } = await execa('openssl', ['x509', '-noout', '-subject_hash', '-in', files.caFile])
    t.equal(hash, OUR_SUBJECT_HASH)
    const folder = join(root, '/etc/ssl/certs')
    const verify = await execa('openssl', [
      'verify',
      '-no-CAfile',
      '-CApath',
      folder,
      join(root, 'ca', 'ca.crt'),
    ])
    t.match(verify.stdout, /: OK$/, 'OpenSSL finds it by its hash')

    t.equal((await installInSystem({ root, run, inherited: {} }, certPem, signal)).remark, 'already trusted')
    const renewed = await makeOther(root)
    await installInSystem({ root, run, inherited: {} }, renewed, signal)
    t.equal(
      readFileSync(join(root, 'runs'), 'utf8'),
      'run\n',
      'a renewed one takes the tool: the old must go',
    )
    t.notOk(holdsCertificate(readFileSync(files.bundleFile, 'utf8'), certPem))

    const hooked = t.testdir()
    debian(hooked)
    put(hooked, '/etc/ca-certificates/update.d/jks-keystore', '#!/bin/sh\n', 0o755)
    await installInSystem({ root: hooked, run, inherited: {} }, renewed, signal)
    t.equal(readFileSync(join(hooked, 'runs'), 'utf8'), 'run\n', 'with hooks the tool runs them')
  },
)

async function makeOther(root: string): Promise<string> {
  const paths = { certPath: join(root, 'other', 'ca.crt'), keyPath: join(root, 'other', 'ca.key') }
  return (await ensureAuthority({ ...paths, now: Date.now })).certPem
}

void t.test('a renewed CA replaces the old one', async (t) => {
  const root = t.testdir()
  debian(root)
  await installInSystem({ root, run, inherited: {} }, OURS, signal)
  const renewed = pem('renewed')
  const { files } = await installInSystem({ root, run, inherited: {} }, renewed, signal)
  const bundle = readFileSync(files.bundleFile, 'utf8')
  t.ok(holdsCertificate(bundle, renewed))
  t.notOk(holdsCertificate(bundle, OURS))
})

void t.test('Fedora: installed by update-ca-trust extract', async (t) => {
  const root = t.testdir()
  fedora(root)
  const { files } = await installInSystem({ root, run, inherited: {} }, OURS, signal)
  t.equal(files.caFile, join(root, '/etc/pki/ca-trust/source/anchors/discobot-proxy-ca.crt'))
  t.ok(holdsCertificate(readFileSync(files.bundleFile, 'utf8'), OURS))
})

void t.test('a tool that fails, or leaves the certificate out, is told', async (t) => {
  const failing = t.testdir()
  put(failing, '/usr/sbin/update-ca-certificates', '#!/bin/sh\nexit 3\n', 0o755)
  await t.rejects(installInSystem({ root: failing, run, inherited: {} }, OURS, signal), {
    code: 'TRUST_STORE_UNCHANGED',
    message: /ended with 3/,
  })
  put(failing, '/usr/sbin/update-ca-certificates', '#!/bin/sh\nexit 0\n', 0o755)
  await t.rejects(installInSystem({ root: failing, run, inherited: {} }, OURS, signal), /ran but left it out/)
})

void t.test('an unknown system is a warning, and a bundle of our own has everything', async (t) => {
  const root = t.testdir()
  put(root, '/etc/ssl/cert.pem', SYSTEM)
  const data = dataPaths(join(root, 'data'))
  put(root, 'data/proxy/certs/ca.crt', OURS, 0o600)
  const findings: BootFindings = {}
  const step = trustStep({ mode: 'container', data, inherited: {}, run, root }, findings)
  await t.rejects(step.run(signal), TrustStoreError)
  t.equal(step.onFailure, 'degrade')
  const { caFile = '', bundleFile = '' } = findings.trust ?? {}
  t.not(caFile, data.caCert, 'the account of the services cannot read that one')
  for (const file of [caFile, bundleFile]) t.equal(statSync(file).mode & 0o777, 0o644)
  const bundle = readFileSync(bundleFile, 'utf8')
  t.ok(holdsCertificate(bundle, OURS) && holdsCertificate(bundle, SYSTEM))
})

void t.test("outside a container the machine's trust store is not touched", async (t) => {
  const root = t.testdir()
  debian(root)
  const data = dataPaths(join(root, 'data'))
  put(root, 'data/proxy/certs/ca.crt', OURS, 0o644)
  const findings: BootFindings = {}
  await trustStep({ mode: 'plain', data, inherited: {}, run, root }, findings).run(signal)
  t.notOk(existsSync(join(root, 'runs')))
  t.notOk(existsSync(join(root, '/usr/local')))
  t.equal(readFileSync(join(root, '/etc/ssl/certs/ca-certificates.crt'), 'utf8'), SYSTEM)
  t.strictSame(findings.trust, { caFile: data.caCert, bundleFile: join(data.proxyDir, 'ca-bundle.crt') })
  const bundle = readFileSync(join(data.proxyDir, 'ca-bundle.crt'), 'utf8')
  t.ok(holdsCertificate(bundle, OURS) && holdsCertificate(bundle, SYSTEM))
})

void t.test('a certificate is found whatever its line lengths and line ends', (t) => {
  t.ok(holdsCertificate(SYSTEM + OURS, pem('ours', 76, '\r\n')))
  t.notOk(holdsCertificate(SYSTEM, OURS))
  t.notOk(holdsCertificate(undefined, OURS))
  t.notOk(holdsCertificate(SYSTEM, 'no certificate'))
  t.end()
})
