import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { composeConfig } from '../../../config/compose.js'
import { folder, json, launch, start, type Program } from '../../../test/lab/program.js'

// Without a file, `explain` asks the proxy that runs, and tells what that one would do.

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))

async function explain(
  { apiPort }: Pick<Program, 'apiPort'>,
  env: Record<string, string>,
  ...args: string[]
): Promise<{ readonly exitCode?: number | undefined; readonly stdout: string; readonly stderr: string }> {
  return execa(process.execPath, [MAIN, 'explain', ...args, '--api-port', String(apiPort)], {
    reject: false,
    extendEnv: false,
    env: { PATH: process.env['PATH'] ?? '', DISCOBOT_DATA_DIR: '/nonexistent', ...env },
  })
}

t.test(
  'what is in force is explained: of the file, a change, and a file that has been broken since',
  async (t) => {
    const dir = folder(t)
    const program = await start(t, dir, { blocklist: { domains: ['blocked.test'] } })
    const file = join(dir, 'config.yaml')
    const blocked = await explain(program, {}, 'GET', 'http://blocked.test/')
    t.match(blocked, { exitCode: 3, stderr: '' })
    t.match(blocked.stdout, /blocked: blocklist\.domains has "blocked\.test"/)
    t.ok(blocked.stdout.includes(`by          blocklist.domains[0] at ${file}:6:7`), blocked.stdout)
    t.ok(blocked.stdout.includes(`in force    ${file}, revision `))
    const own = await explain(program, {}, 'GET', `http://127.0.0.1:${program.apiPort}/`)
    t.match(own, { exitCode: 3, stdout: /is this proxy itself/ }, 'by the ports it really has')

    const token = readFileSync(join(dir, 'proxy', 'api-token'), 'utf8').trim()
    const changed = await fetch(`http://127.0.0.1:${program.apiPort}/api/config`, {
      method: 'PATCH',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/merge-patch+json' },
      body: JSON.stringify({ blocklist: { domains: ['other.test'] } }),
    })
    t.equal(changed.status, 200)
    t.match(
      (await explain(program, {}, 'GET', 'http://127.0.0.1/')).stdout,
      /in force +a change over the API/,
    )
    t.equal((await explain(program, {}, 'GET', 'http://other.test/')).exitCode, 3)

    writeFileSync(file, 'blocklist: { domains: [')
    for (;;) {
      const health = await json(`http://127.0.0.1:${program.apiPort}/health`)
      if (health['config'] !== undefined) break
    }
    const broken = await explain(program, {}, 'GET', 'http://other.test/')
    t.match(broken, { exitCode: 3, stdout: /but +the file cannot be used as it is now: .*config\.yaml/ })
  },
)

t.test('a file that was put together tells where its parts were written', async (t) => {
  const dir = folder(t)
  const operator = join(dir, 'operator.yaml')
  const workspace = join(dir, 'workspace.yaml')
  const lists = 'proxy: { port: 0, api_port: 0 }\nblocklist: { domains: [other.test] }\n'
  writeFileSync(operator, `${lists}rules: [{ action: block, hosts: [r.test] }]\n`)
  writeFileSync(
    workspace,
    '# mine\nblocklist: { domains: [joined.test] }\nrules: [{ action: block, hosts: [w.test] }]\n',
  )
  const { yaml } = await composeConfig({ dataDir: dir, operatorFile: operator, workspaceFile: workspace })
  const program = await start(t, dir, yaml)
  for (const [host, place] of [
    ['joined.test', `${operator}:2:23 and ${workspace}:2:23`],
    ['r.test', `${operator}:3:9`],
    ['w.test', `${workspace}:3:9`],
  ] as const) {
    const { stdout } = await explain(program, {}, 'GET', `http://${host}/`)
    t.ok(stdout.includes(` at ${place}\n`), stdout)
  }
  const machine = JSON.parse((await explain(program, {}, '--json', 'GET', 'http://r.test/')).stdout) as object
  t.match(machine, {
    decision: 'block',
    by: { option: 'rules[0]', at: /config\.yaml:/, written: [`${operator}:3:9`] },
    in_force: { from: 'file', file: join(dir, 'config.yaml'), problems: [] },
  })
})

t.test('a secret that is withheld, and a proxy that asks for a password', async (t) => {
  const dir = folder(t)
  const file = join(dir, 'config.yaml')
  const config = {
    proxy: { port: 0, api_port: 0, auth: { user: 'agents', password: 'correct-horse-7Q' } },
    secrets: { KEY: { hosts: ['127.0.0.1'], env: 'KEY' } },
    headers: { '127.0.0.1': { set: { 'X-Key': '${KEY}' } } },
  }
  writeFileSync(file, stringify(config))
  const withheld = { KEY: 'x', DISCOBOT_SECRETS_WITHHELD: 'somebody could read it' }
  const program = launch(t, ['-config', file], { DISCOBOT_DATA_DIR: dir, ...withheld })
  await program.logged(/proxy ready.*\n/)
  const apiPort = Number(/ api_port=(\d+)/.exec(program.log())?.[1])
  t.match(await explain({ apiPort }, {}, 'GET', 'https://127.0.0.1/'), { exitCode: 1, stderr: /proxy\.auth/ })
  const login = { http_proxy: 'http://agents:correct-horse-7Q@127.0.0.1:1' }
  t.match(await explain({ apiPort }, login, 'GET', 'https://127.0.0.1/'), {
    exitCode: 3,
    stdout:
      /needs the secret KEY, which is withheld, since somebody could read it\n +by +headers\.127\.0\.0\.1 at/,
  })
  t.match(
    await explain({ apiPort }, login, 'GET', 'http://127.0.0.1/'),
    { exitCode: 0 },
    'plain http gets none',
  )
})

t.test('where no proxy answers nothing is made up', async (t: Test) => {
  const { exitCode, stderr, stdout } = await explain({ apiPort: 1 }, {}, 'GET', 'http://a.test/')
  t.equal(exitCode, 1)
  t.equal(stdout, '')
  t.match(stderr, /no proxy answers on 127\.0\.0\.1:1; .*--config FILE/)
  t.match(await explain({ apiPort: 1 }, {}, 'NO', 'http://a.test/'), {
    exitCode: 2,
    stderr: /no such method/,
  })
})
