import t from 'tap'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { bootBesideOrigins } from './booted-beside-origins.js'

void t.test(
  'programs in a login shell reach TLS servers through the proxy, with no flags',
  { skip: NEEDS_ROOT },
  async (t) => {
    const { container, shell, site, seen } = await bootBesideOrigins(t)
    site.addRepository('project', { 'README.md': '# cloned\n' })
    site.addPackage('tiny', `module.exports = 'installed'`)
    const direct = await container.exec('curl -sS https://web.test/', { user: 'discobot' })
    t.match(direct, { code: 60, stderr: /certificate/ }, 'only the proxy trusts these servers')

    await t.test('curl', async (t) => {
      t.equal(await shell('curl -sS https://web.test/curl'), 'you asked for /curl by way of 2.0 discobot\n')
    })

    await t.test('git clone', async (t) => {
      t.equal(
        await shell('cd ~ && git clone -q https://git.test/project.git && cat project/README.md'),
        '# cloned\n',
      )
      const asked = seen().filter((line) => line.startsWith('git.test '))
      t.ok(asked.some((line) => /POST \/project.git\/git-upload-pack .*discobot/.test(line)))
    })

    await t.test('npm install', async (t) => {
      const script = `mkdir ~/app && cd ~/app && echo 'registry=https://npm.test/' >.npmrc && echo '{}' >package.json
        npm install --silent tiny && node -p 'require("tiny")'`
      t.equal(await shell(script), 'installed\n')
      const asked = seen().filter((line) => line.startsWith('npm.test GET /tiny'))
      t.strictSame(asked, [
        'npm.test GET /tiny 1.1 discobot',
        'npm.test GET /tiny/-/tiny-1.0.0.tgz 1.1 discobot',
      ])
    })

    await t.test('Python urllib', async (t) => {
      const code =
        'import urllib.request as r; print(r.urlopen("https://web.test/python").read().decode(), end="")'
      t.equal(await shell(`/usr/bin/python3 -c '${code}'`), 'you asked for /python by way of 1.1 discobot\n')
    })

    await t.test('Node trusts what comes through the proxy', async (t) => {
      const code = `
        const { hostname: host, port } = new URL(process.env.HTTPS_PROXY)
        const tunnel = { host, port, method: 'CONNECT', path: 'web.test:443', headers: { host: 'web.test:443' } }
        require('http').request(tunnel).end().once('connect', (_answer, socket) => {
          const options = { socket, servername: 'web.test', host: 'web.test', path: '/tls', agent: false }
          require('https').get(options, (answer) => answer.pipe(process.stdout))
        })`
      t.equal(
        await shell(`'${process.execPath}' -e "${code}"`),
        'you asked for /tls by way of 1.1 discobot\n',
      )
    })

    await t.test('Node fetch', async (t) => {
      const code =
        'fetch("https://web.test/node").then((r) => r.text()).then((text) => process.stdout.write(text))'
      t.equal(
        await shell(`'${process.execPath}' -e '${code}'`),
        'you asked for /node by way of 1.1 discobot\n',
      )
    })

    t.equal(await container.stop(), 0)
    t.match(container.logs(), /method=GET host=web\.test:443 path=\/curl status=200/)
  },
)
