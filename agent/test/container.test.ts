import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startIsolated } from '../../test/lab/isolated.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'
const UP = /Discobot is up.*Try next.*\n\n/s

void t.test(
  'as process 1 the whole container is brought up, and taken down in order',
  { skip: NEEDS_ROOT },
  async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    // Accounts as in a bare image: the boot has to make them.
    const prepare = 'for name in discobot discobot-proxy; do userdel $name 2>/dev/null || :; done'
    const container = await startIsolated(t, { dataDir, prepare, env: { DISCOBOT_DOCKER: 'off' } })
    await container.logged(UP)
    t.match(container.logs(), /Discobot is up after/, container.logs())

    const as = async (user: string, script: string, login = false): Promise<string> => {
      const { stdout, stderr } = await container.exec(script, { user, login })
      return (stdout + stderr).trim()
    }
    t.match(await as('root', 'id discobot; id discobot-proxy'), /uid=\d+\(discobot\).*\n.*\(discobot-proxy\)/)
    t.equal(await as('root', 'stat -c "%U %a" /home/discobot/workspace'), 'discobot 755')
    t.equal(await as('root', 'readlink /workspace'), '/home/discobot/workspace')
    t.equal(
      await as('root', 'cd /.data/proxy && stat -c "%n %U %a" . certs certs/ca.key config.yaml cache'),
      '. discobot-proxy 755\ncerts discobot-proxy 700\ncerts/ca.key discobot-proxy 600\nconfig.yaml discobot-proxy 600\ncache discobot-proxy 700',
    )
    t.match(await as('discobot', 'cat /.data/proxy/certs/ca.key'), /Permission denied/)
    t.match(await as('discobot', 'cat /.data/proxy/config.yaml'), /Permission denied/)
    t.equal(await as('root', 'stat -c "%U %G %a" /run/discobot/agent.sock'), 'root discobot 660')

    const owners = await as('root', 'ps -eo user:20,args')
    t.match(owners, /^discobot-proxy .*proxy/m)
    t.match(owners, /^discobot .*api/m)

    const shell = await as('discobot', 'env', true)
    t.match(shell, 'HTTPS_PROXY=http://127.0.0.1:17080')
    t.match(shell, 'NODE_EXTRA_CA_CERTS=/usr/local/share/ca-certificates/discobot-proxy-ca.crt')
    t.match(shell, 'SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt')
    const verify = 'openssl verify -CAfile "$SSL_CERT_FILE" "$NODE_EXTRA_CA_CERTS"'
    t.match(await as('discobot', verify, true), /: OK$/)
    t.match(await as('discobot', 'curl -s http://127.0.0.1:3002/api/status', true), /"status":"ok"/)

    t.equal(await container.stop(), 0)
    const stopped = [...container.logs().matchAll(/service stopped .*?service=(\S+)/g)].map(
      (match) => match[1],
    )
    t.strictSame(stopped, ['agent-api', 'proxy'])

    const again = await startIsolated(t, { dataDir, prepare, env: { DISCOBOT_DOCKER: 'off' } })
    await again.logged(UP)
    t.match(again.logs(), /step=ca .*note=reused/)
    t.equal(await again.stop(), 0)
  },
)

void t.test('without the proxy no login shell is sent to it', { skip: NEEDS_ROOT }, async (t) => {
  const prepare = "echo 'export HTTPS_PROXY=http://127.0.0.1:17080' > /etc/profile.d/discobot-proxy.sh"
  const container = await startIsolated(t, {
    prepare,
    env: { DISCOBOT_PROXY: 'off', DISCOBOT_DOCKER: 'off' },
  })
  await container.logged(UP)
  const { stdout } = await container.exec('env', { user: 'discobot', login: true })
  t.notMatch(stdout, /proxy=/i)
  t.equal(await container.stop('SIGINT'), 0)
})

void t.test(
  'what is mounted at /workspace is kept, and a directory of root is copied for the account',
  { skip: NEEDS_ROOT },
  async (t) => {
    const prepare =
      'mkdir -p /workspace /srv/project; echo mine > /workspace/notes; echo x > /srv/project/file'
    const env = { DISCOBOT_PROXY: 'off', DISCOBOT_DOCKER: 'off', DISCOBOT_WORKSPACE: '/srv/project' }
    const container = await startIsolated(t, { prepare, env })
    await container.logged(UP)
    t.match(container.logs(), /step=link .*cannot make \/workspace a link to \/home\/discobot\/workspace/)
    const { stdout } = await container.exec('cat /workspace/notes; stat -c %U /home/discobot/workspace/file')
    t.equal(stdout, 'mine\ndiscobot\n')
    t.equal(await container.stop(), 0)
  },
)
