import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startHttpsOrigin } from '../../../test/lab/harness.js'
import { startClientLab, type ClientLab } from './client-lab.js'

// apt reads a repository by https and downloads a package, the second time from the cache.

const POOL = '/pool/main/d/demo/demo_1.0_all.deb'
const INDEX = '/dists/stable/main/binary-amd64'

const sha256 = (content: Buffer | string): string => createHash('sha256').update(content).digest('hex')

/** Path → content of a repository with one package. https://wiki.debian.org/DebianRepository/Format */
async function makeRepository(lab: ClientLab): Promise<Map<string, Buffer>> {
  mkdirSync(join(lab.folder, 'demo/DEBIAN'), { recursive: true })
  mkdirSync(join(lab.folder, 'demo/opt'))
  const control =
    'Package: demo\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.com>\nDescription: demo\n'
  writeFileSync(join(lab.folder, 'demo/DEBIAN/control'), control)
  writeFileSync(join(lab.folder, 'demo/opt/demo.bin'), randomBytes(2 * 1024 * 1024))
  await lab.run('dpkg-deb', ['--build', '--root-owner-group', '-Znone', 'demo', 'demo.deb'])
  const deb = readFileSync(join(lab.folder, 'demo.deb'))
  const packages = Buffer.from(
    `${control}Filename: ${POOL.slice(1)}\nSize: ${deb.length}\nSHA256: ${sha256(deb)}\n`,
  )
  const digest = sha256(packages)
  const release = `Suite: stable\nCodename: stable\nArchitectures: amd64 all\nComponents: main\nAcquire-By-Hash: yes\nDate: ${new Date().toUTCString()}\nSHA256:\n ${digest} ${packages.length} main/binary-amd64/Packages\n`
  return new Map([
    [POOL, deb],
    [`${INDEX}/by-hash/SHA256/${digest}`, packages],
    ['/dists/stable/Release', Buffer.from(release)],
  ])
}

/** A configuration and a state of its own; nothing of the machine's apt is read or written. */
function isolatedApt(lab: ClientLab, name: string, source: string): { APT_CONFIG: string; folder: string } {
  const folder = join(lab.folder, name)
  for (const part of ['lists/partial', 'cache/archives/partial', 'etc']) {
    mkdirSync(join(folder, part), { recursive: true })
  }
  writeFileSync(join(folder, 'status'), '')
  writeFileSync(join(folder, 'etc/sources.list'), `${source}\n`)
  const file = join(folder, 'apt.conf')
  writeFileSync(
    file,
    `Dir::Etc "${folder}/etc";
Dir::Etc::parts "no-parts";
Dir::State "${folder}";
Dir::State::status "${folder}/status";
Dir::Cache "${folder}/cache";
Dir::Log "${folder}";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
// The account _apt may not enter a folder of the test's.
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::https::Proxy "${lab.address}";
Acquire::https::CAInfo "${lab.proxy.caPath}";
`,
  )
  return { APT_CONFIG: file, folder }
}

t.test('apt updates and downloads byte for byte, and a second time from the cache', async (t) => {
  const lab = await startClientLab(t)
  const files = await makeRepository(lab)
  const asked: string[] = []
  const { port } = await startHttpsOrigin(t, lab.proxy.originAuthority, 'deb.test', (request, response) => {
    const { url = '' } = request
    asked.push(url)
    const content = files.get(url)
    if (content === undefined) response.writeHead(404).end()
    else response.end(content)
  })
  const source = `deb [trusted=yes] https://deb.test:${port} stable main`
  for (const [round, outcome] of [
    ['first', 'miss'],
    ['second', 'hit'],
  ] as const) {
    const { folder, APT_CONFIG } = isolatedApt(lab, round, source)
    // Without the proxy's variables: apt is to follow its own setting.
    const env = {
      APT_CONFIG,
      ...Object.fromEntries(
        Object.keys(lab.env)
          .filter(isProxyVariable)
          .map((name) => [name, '']),
      ),
    }
    await lab.run('apt-get', ['update'], { env })
    await lab.run('apt-get', ['download', 'demo'], { env, cwd: folder })
    t.ok(readFileSync(join(folder, 'demo_1.0_all.deb')).equals(files.get(POOL) ?? Buffer.alloc(0)), round)
    for (const path of [POOL, `${INDEX}/by-hash/SHA256/[0-9a-f]{64}`]) {
      await lab.logged(new RegExp(`GET deb\\.test:${port}${path} 200 cache ${outcome}`))
    }
  }
  const count = (name: RegExp): number => asked.filter((path) => name.test(path)).length
  t.equal(count(/\.deb$/), 1)
  t.equal(count(/\/by-hash\//), 1)
  t.equal(count(/\/Release$/), 2, 'what changes is asked for each time')
})

function isProxyVariable(name: string): boolean {
  return name.toLowerCase().endsWith('_proxy')
}
