import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { allIsWell, bootBesideOrigins } from './booted-beside-origins.js'

const FILE = /^proxy-config: \/home\/discobot\/workspace\/\.discobot\/proxy\/config\.yaml/.source

for (const [what, text, message] of [
  ['malformed YAML', 'cache:\n  enabled: [true\nlogging: {}\n', /:\d+:\d+: .+/],
  ['an unknown key', 'cache:\n  patern: ["^/x"]\n', /:2:3: .*patern.*patterns/],
  ['a bad regular expression', 'cache:\n  patterns:\n    - "^/ok"\n    - "^/(x"\n', /:4:7: .*\^\/\(x/],
] as const) {
  void t.test(
    `${what} in the workspace’s configuration is named with its place, and the shipped default is in force`,
    { skip: NEEDS_ROOT },
    async (t) => {
      const workspace = mkdtempSync(join(tmpdir(), 'discobot-workspace-'))
      t.teardown(() => rmSync(workspace, { recursive: true, force: true }))
      chmodSync(workspace, 0o755)
      mkdirSync(join(workspace, '.discobot/proxy'), { recursive: true })
      writeFileSync(join(workspace, '.discobot/proxy/config.yaml'), text)
      const lab = await bootBesideOrigins(t, {
        env: { DISCOBOT_WORKSPACE: workspace },
        readOnly: [workspace],
      })
      const { degraded } = await allIsWell(t, lab)
      t.equal(degraded.length, 1)
      t.match(degraded[0], new RegExp(FILE + message.source))
      t.equal(await lab.shell('cat ~/workspace/.discobot/proxy/config.yaml'), text, 'left as it is')
      t.equal(await lab.container.stop(), 0)
    },
  )
}

void t.test(
  'port 17080 in use costs the proxy and its variables, loudly, and nothing else',
  { skip: NEEDS_ROOT },
  async (t) => {
    // Listens before the shell goes on; the child keeps the socket.
    const program = `import os, socket, time
server = socket.create_server(("127.0.0.1", 17080))
if os.fork(): os._exit(0)
time.sleep(600)`
    const lab = await bootBesideOrigins(t, { prepare: `/usr/bin/python3 -c '${program}'\n` })
    t.match(lab.container.logs(), /going on WITHOUT the proxy/)
    const { degraded, services, phase } = await lab.status()
    t.equal(phase, 'running')
    t.equal(degraded.length, 1)
    t.match(
      degraded[0],
      /^proxy: .*cannot listen on 127\.0\.0\.1:17080: another process has it; stop that one \(pid \d+, python3\S*\); .*proxy\.port/,
    )
    t.match(
      services.find(({ name }) => name === 'agent-api'),
      { state: 'ready' },
    )
    t.notMatch(await lab.shell('env'), /_PROXY=|SSL_CERT_FILE/i)
    t.match(await lab.shell('curl -sS http://127.0.0.1:3002/health'), /ok/)
    t.equal(await lab.container.stop(), 0)
  },
)

void t.test(
  'a CA key that cannot be used is mended, or replaced with a word about it, and the proxy is trusted all the same',
  { skip: NEEDS_ROOT },
  async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    const certs = join(dataDir, 'proxy/certs')
    const well = async (prepare: string): Promise<string> => {
      const lab = await bootBesideOrigins(t, { dataDir, prepare })
      await allIsWell(t, lab)
      t.equal(await lab.container.stop(), 0)
      return lab.container.logs()
    }
    await well('')
    const cert = readFileSync(join(certs, 'ca.crt'), 'utf8')
    const logs = await well('echo garbage >/.data/proxy/certs/ca.key\n')
    t.match(logs, /made a new CA reason="the key is not a valid/)
    const renewed = readFileSync(join(certs, 'ca.crt'), 'utf8')
    t.not(renewed, cert)
    t.equal(
      readFileSync(join(certs, 'ca.key.previous'), 'utf8'),
      'garbage\n',
      'kept, should somebody miss it',
    )
    t.equal(readFileSync(join(certs, 'ca.crt.previous'), 'utf8'), cert)

    // By root it can be read, by the proxy it cannot.
    await well('chown 0:0 /.data/proxy/certs/ca.key; chmod 000 /.data/proxy/certs/ca.key\n')
    t.equal(readFileSync(join(certs, 'ca.crt'), 'utf8'), renewed)

    // What a container engine makes of a file that was to be mounted and is missing.
    const folder = await well('rm /.data/proxy/certs/ca.key; mkdir /.data/proxy/certs/ca.key\n')
    t.match(folder, /made a new CA reason="cannot read \/\.data\/proxy\/certs\/ca\.key: EISDIR"/)
  },
)

void t.test(
  'a workspace that cannot be cloned leaves an empty one, and says why and what to look at',
  { skip: NEEDS_ROOT },
  async (t) => {
    const lab = await bootBesideOrigins(t, { env: { DISCOBOT_WORKSPACE: 'https://absent.test/repo.git' } })
    const { degraded } = await allIsWell(t, lab)
    t.equal(degraded.length, 1)
    t.match(degraded[0], /^workspace: cannot clone https:\/\/absent\.test\/repo\.git: .*absent\.test.*; .+/)
    t.equal(await lab.shell('ls -A /workspace/'), '')
    t.equal(await lab.container.stop(), 0)
  },
)
