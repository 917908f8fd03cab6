import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { formatProblem } from '../../../config/yaml/problem.js'
import { fetchStatus } from '../../control/client.js'
import { loadServices, WORKSPACE_FILE, type LoadedServices } from '../file-load.js'
import { startIsolated } from '../../../test/lab/isolated.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'
const UP = /Discobot is up.*Try next.*\n\n/s

function load(
  t: { testdir(): string },
  files: { workspace?: string; image?: string },
  workspaceUserIsRoot = false,
): Promise<LoadedServices> {
  const folder = t.testdir()
  const imageFolder = join(folder, 'services.d')
  const texts = {
    [join(folder, WORKSPACE_FILE)]: files.workspace,
    [join(imageFolder, 'a.yaml')]: files.image,
  }
  for (const [path, text] of Object.entries(texts)) {
    if (text === undefined) continue
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  const [builtIn, running] = [
    ['proxy', 'dockerd', 'agent-api'],
    ['proxy', 'agent-api'],
  ]
  return loadServices({
    imageFolder,
    workspace: folder,
    workspaceUser: 'dev',
    workspaceUserIsRoot,
    builtIn,
    running,
  })
}

t.test('a file says all there is to say of a service', async (t) => {
  const workspace = `services:
  web:
    command: npm run "dev server"
    depends: [db, proxy]
    ports: [3000]
    liveness: { period: 5s, threshold: 2 }
    env: { A: 1 }
    cwd: site
    log_level: warn
  db:
    command: [/bin/db, --fast]
    type: oneshot
    restart: never
    ready_timeout: 2m
    limits: { open_files: 64 }
    give_up: { failures: 3, window: 1m }
`
  const { services, problems } = await load(t, { workspace })
  t.strictSame(problems, [])
  const probe = { kind: 'tcp', host: 'localhost', port: 3000 }
  t.match(services, [
    {
      name: 'db',
      oneshot: true,
      restart: 'never',
      readyTimeoutMs: 120_000,
      limits: { openFiles: 64 },
      giveUp: { failuresAllowed: 3, windowMs: 60_000 },
      essential: false,
    },
    {
      name: 'web',
      command: ['npm', 'run', 'dev server'],
      readiness: probe,
      liveness: { probe, periodMs: 5_000, timeoutMs: 1_000, threshold: 2 },
      env: { A: '1' },
      restart: 'on-failure',
      source: 'workspace',
    },
  ])
})

t.test('each mistake costs its own service, and is told with its place', async (t) => {
  const workspace = `services:
  good: { command: sleep 60 }
  BAD: { command: x }
  empty: {}
  typo: { comand: x, command: x }
  when: { command: x, ready_timeout: soon }
  port: { command: x, ports: [70000] }
  quote: { command: 'x "' }
  once: { command: x, type: oneshot, restart: always }
  asked: { command: x, readiness: { http: ftp://x } }
  both: { command: x, readiness: { tcp: 1, file: /x } }
  proxy: { command: x }
  root: { command: x, user: root }
  lost: { command: x, depends: [nobody] }
  hen: { command: x, depends: [egg] }
  egg: { command: x, depends: [hen] }
  fd: { command: x, readiness: { newline: 1 } }
  vital: { command: x, essential: true }
  never: { command: x, give_up: { failures: 0 } }
  maybe: { command: x, no_new_privs: 1 }
`
  const { services, problems } = await load(t, { workspace })
  t.strictSame(
    services.map(({ name }) => name),
    ['good'],
  )
  const told = problems.map(formatProblem)
  t.strictSame(
    [...new Set(told.map((line) => Number(line.split(':')[1])))].sort((a, b) => a - b),
    Array.from({ length: 18 }, (_, index) => index + 3),
    told.join('\n'),
  )
  t.match(
    told.join('\n'),
    `${WORKSPACE_FILE}:5:11: unknown option "services.typo.comand"; did you mean "command"?`,
  )
  t.match(told.join('\n'), `${WORKSPACE_FILE}:18:35: services of a workspace do not end the container`)
  t.match(told.join('\n'), `${WORKSPACE_FILE}:13:29: services of a workspace run as dev`)
})

t.test('the image comes first, and a workspace never runs anything as root', async (t) => {
  const image = 'services: { web: { command: x, user: root } }'
  const both = await load(t, { image, workspace: 'services:\n  web: { command: evil }\n' })
  t.match(both.services, [{ name: 'web', user: 'root', source: 'image' }])
  t.match(both.problems, [{ kind: 'refused', mark: { line: 2, col: 3 } }])
  const asRoot = await load(t, { workspace: 'services: { web: { command: x } }' }, true)
  t.match(asRoot, { services: [], problems: [{ message: /never run as root/ }] })
  t.match(await load(t, { workspace: 'services: [' }), { services: [], problems: [{ kind: 'invalid' }] })
})

void t.test(
  'in a container they come up after the built-in ones, as the user, and stop before them',
  { skip: NEEDS_ROOT },
  async (t) => {
    const prepare = `mkdir -p /srv/project/.discobot /etc/discobot/services.d
cat > /srv/project/.discobot/services.yaml <<'EOF'
services:
  setup: { command: sh -c 'echo setup by $(id -un)', type: oneshot, depends: [proxy] }
  web: { command: sh -c 'grep NoNewPrivs /proc/self/status; echo key=$TEST_KEY. via $HTTPS_PROXY; exec sleep 600', depends: [setup] }
  thief: { command: id, user: root }
EOF
echo 'services: { image-root: { command: "sh -c \\"id -un; exec sleep 600\\"", user: root } }' > /etc/discobot/services.d/10.yaml`
    const operatorFile = join(
      t.testdir({ 'operator.yaml': 'secrets: { KEY: { env: TEST_KEY, hosts: [a.test] } }\n' }),
      'operator.yaml',
    )
    const env = {
      DISCOBOT_DOCKER: 'off',
      DISCOBOT_WORKSPACE: '/srv/project',
      DISCOBOT_PROXY_CONFIG: operatorFile,
      TEST_KEY: 'hush',
    }
    const container = await startIsolated(t, { prepare, env })
    await container.logged(UP)
    // What a service says may come after it counts as started.
    await container.logged(/via http:\/\/127\.0\.0\.1:17080/)
    const logs = container.logs()
    t.match(logs, /setup by discobot/)
    t.match(logs, /key=\. via/, 'the secrets of the proxy stay its own')
    t.match(logs, /NoNewPrivs:\s+1/)
    t.match(logs, /\.discobot\/services\.yaml:4:\d+: services of a workspace run as discobot/)
    t.equal(await container.stop(), 0)
    const stopped = [...container.logs().matchAll(/service stopped .*?service=(\S+)/g)].map(
      ([, name]) => name,
    )
    t.strictSame(stopped.slice(-2), ['agent-api', 'proxy'])
    t.strictSame(stopped.slice(0, -2).sort(), ['image-root', 'web'])
  },
)

void t.test(
  'a reload starts what is new, starts anew what has changed, stops what is gone, and leaves the rest alone',
  { skip: NEEDS_ROOT },
  async (t) => {
    const file = '/home/discobot/workspace/.discobot/services.yaml'
    const write = (...services: string[]): string =>
      `mkdir -p $(dirname ${file}); printf '%s\\n' 'services:' ${services.map((one) => `'  ${one}'`).join(' ')} > ${file}`
    const say = (name: string, word: string): string =>
      `${name}: { command: sh -c "echo ${name} says ${word}; exec sleep 600" }`
    const container = await startIsolated(t, { env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY: 'off' } })
    await container.logged(UP)
    /** What runs by now, by process. */
    const running = async (...services: string[]): Promise<Map<string, number>> => {
      const before = container.logs().length
      const { code } = await container.exec(`${write(...services)}; kill -HUP 1`)
      t.equal(code, 0)
      const over = /(configuration read again|reload with problems).*\n/
      while (!over.test(container.logs().slice(before)))
        await new Promise((resolve) => setTimeout(resolve, 20))
      const status = await fetchStatus(`/proc/${container.pid}/root/run/discobot/agent.sock`)
      const own = status.services.filter(({ name }) => name !== 'agent-api')
      return new Map(own.map(({ name, pid }) => [name, pid ?? 0]))
    }
    const first = await running(say('one', 'hello'), say('two', 'hello'), say('three', 'hello'))
    t.strictSame([...first.keys()].sort(), ['one', 'three', 'two'])

    const second = await running(say('one', 'hello'), say('two', 'bye'), say('four', 'hello'))
    t.strictSame([...second.keys()].sort(), ['four', 'one', 'two'])
    t.equal(second.get('one'), first.get('one'), 'what has not changed is left alone')
    t.not(second.get('two'), first.get('two'))
    await container.logged(/two says bye/)
    const { stdout } = await container.exec(`ps -e -o pid= | grep -cw ${first.get('three')} || :`)
    t.equal(stdout, '0\n', 'what is gone does not run any more')

    const third = await running(say('one', 'hello'), 'two: { comand: x }', say('five', 'hello'))
    t.match(
      container.logs(),
      /reload with problems.*services\.yaml:3:\d+: unknown option .*services\.two\.comand/,
    )
    t.strictSame([...third.keys()].sort(), ['five', 'four', 'one', 'two'], 'with a mistake nothing is gone')
    for (const name of ['one', 'two', 'four']) t.equal(third.get(name), second.get(name), name)

    const none = await running()
    t.match(container.logs(), /reload with problems/)
    t.equal(none.size, 4, '"services:" without anything is a mistake')
    const { code } = await container.exec(`rm ${file}; kill -HUP 1`)
    t.equal(code, 0)
    await container.logged(/configuration read again[^]*configuration read again[^]*configuration read again/)
    t.strictSame([...(await running(say('six', 'hello'))).keys()], ['six'])
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  "an essential service of the image's is given up when it was said to be, and the container ends with its code",
  { skip: NEEDS_ROOT },
  async (t) => {
    const container = await startIsolated(t, {
      prepare: `mkdir -p /etc/discobot/services.d
echo 'services: { vital: { command: "sh -c \\"exit 9\\"", restart: always, essential: true, give_up: { failures: 2 } } }' \
  >/etc/discobot/services.d/10.yaml`,
      env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY: 'off' },
    })
    t.equal(await container.exited, 9, container.logs())
    t.match(container.logs(), /service ended, will start again service=vital/)
    t.match(container.logs(), /the container ends with its essential service service=vital/)
  },
)
