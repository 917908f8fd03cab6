import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { installProfile, profileStep, removeProfile } from '../profile.js'

const ACCESS = { host: '127.0.0.1', port: 17080, caFile: '/ca.crt', bundleFile: '/bundle.crt' }
const signal = new AbortController().signal

function proxyIn(file: string): string {
  return execFileSync('sh', ['-c', `. ${file}; printf %s "$HTTPS_PROXY"`], { encoding: 'utf8', env: {} })
}

void t.test('login shells get the variables from a file of our own', async (t) => {
  const root = t.testdir({ etc: { 'profile.d': {}, profile: 'umask 022\n' } })
  const snippet = join(root, '/etc/profile.d/discobot-proxy.sh')
  await installProfile(root, ACCESS)
  t.equal(proxyIn(snippet), 'http://127.0.0.1:17080')
  t.equal(statSync(snippet).mode & 0o777, 0o644)
  t.equal(readFileSync(join(root, 'etc/profile'), 'utf8'), 'umask 022\n')
})

void t.test(
  'without profile.d a marked block in /etc/profile does it, once, and goes without a trace',
  async (t) => {
    const before = 'export PATH=/bin\nno newline at the end'
    const root = t.testdir({ etc: { profile: before } })
    const profile = join(root, 'etc/profile')
    await installProfile(root, ACCESS)
    const once = readFileSync(profile, 'utf8')
    await installProfile(root, ACCESS)
    t.equal(readFileSync(profile, 'utf8'), once)
    await installProfile(root, { ...ACCESS, port: 18080 })
    const moved = readFileSync(profile, 'utf8')
    t.equal(moved.match(/HTTPS_PROXY/g)?.length, 1)
    t.match(moved, /18080/)
    await removeProfile(root)
    t.equal(readFileSync(profile, 'utf8'), `${before}\n`)
  },
)

void t.test('when the proxy is not there no shell is left pointing at it', async (t) => {
  const root = t.testdir({ etc: { 'profile.d': {}, profile: 'umask 022\n' } })
  const proxy = { host: '127.0.0.1', port: 17080, apiPort: 17081, hosts: ['127.0.0.1'] }
  const trust = { caFile: '/ca.crt', bundleFile: '/bundle.crt' }
  await profileStep(root, { proxy, trust, proxyAnswers: true }).run(signal)
  t.ok(existsSync(join(root, '/etc/profile.d/discobot-proxy.sh')))
  t.same(await profileStep(root, { proxy, trust }).run(signal), { notDone: 'without the proxy' })
  t.notOk(existsSync(join(root, '/etc/profile.d/discobot-proxy.sh')))
  t.equal(readFileSync(join(root, 'etc/profile'), 'utf8'), 'umask 022\n')
})
