import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { AgentStatus } from '../status/status.js'
import { NEEDS_ROOT } from '../../test/lab/booted.js'
import { BUILT, startIsolated, type Container } from '../../test/lab/isolated.js'

// The promise: what is wrong is named with its place and a way out, and costs nothing but itself.

type Row = readonly [input: string, message: RegExp]

interface Up {
  readonly container: Container
  readonly status: AgentStatus
}

/** Boots a container and holds it to what does not depend on the mistake: proxy and agent API answer. */
async function boot(
  t: Test,
  env: Readonly<Record<string, string>>,
  prepare = '',
  readOnly: readonly string[] = [],
): Promise<Up> {
  const container = await startIsolated(t, { env: { DISCOBOT_DOCKER: 'off', ...env }, prepare, readOnly })
  await container.logged(/Discobot is up/)
  const ask = async (command: string): Promise<string> => {
    const { stdout, stderr, code } = await container.exec(command)
    t.equal(code, 0, `${command}: ${stderr}`)
    return stdout
  }
  const status = JSON.parse(
    await ask(`'${process.execPath}' '${join(BUILT, 'agent/main.js')}' status --json`),
  ) as AgentStatus
  t.equal(status.phase, 'running')
  const health = env['DISCOBOT_PROXY_CONFIG'] === undefined ? /"status":"ok"/ : /"status":"degraded"/
  t.match(await ask('curl -sSf http://127.0.0.1:17081/health'), health)
  for (const name of ['proxy', 'agent-api']) {
    t.match(
      status.services.find((service) => service.name === name),
      { state: 'ready', restarts: 0 },
      name,
    )
  }
  return { container, status }
}

function told(t: Test, { container, status }: Up, rows: readonly Row[]): void {
  for (const [input, message] of rows) {
    t.match(status.degraded.join('\n'), message, input)
    // Where a quote is escaped.
    t.match(container.logs().replaceAll('\\"', '"'), message, `${input}, in the log`)
  }
}

const ENVIRONMENT: readonly (readonly [name: string, value: string, message: RegExp])[] = [
  [
    'DISCOBOT_SESSION_ID',
    '../../etc',
    /DISCOBOT_SESSION_ID .*want at most 64 letters, .*; "default" is used/,
  ],
  ['DISCOBOT_USER', 'Root Of All', /DISCOBOT_USER .*want a name of at most 32 .*; "discobot" is used/],
  ['DISCOBOT_OVERLAY', 'maybe', /DISCOBOT_OVERLAY .*want auto or off; "auto" is used/],
  [
    'DISCOBOT_WORKSPACE_CLONE',
    'depth:-1',
    /DISCOBOT_WORKSPACE_CLONE .*want auto, partial, full or depth:N; "auto" is used/,
  ],
  ['DISCOBOT_WORKSPACE_FETCH', 'often', /DISCOBOT_WORKSPACE_FETCH .*want off or on; "off" is used/],
  ['DISCOBOT_WORKSPACE_SUBMODULES', 'no way', /DISCOBOT_WORKSPACE_SUBMODULES .*want on or off; "on" is used/],
  ['DISCOBOT_WORKSPACE_LFS', '2', /DISCOBOT_WORKSPACE_LFS .*want on or off; "on" is used/],
  [
    'DISCOBOT_AGENT_COMMAND',
    '["unfinished',
    /DISCOBOT_AGENT_COMMAND .*is not a JSON array; the built-in agent API is used/,
  ],
  ['DISCOBOT_AGENT_PORT', '99999', /DISCOBOT_AGENT_PORT .*want a port from 1 to 65535; 3002 is used/],
  [
    'DISCOBOT_AGENT_HOST',
    '0.0.0.0',
    /DISCOBOT_AGENT_HOST .*beyond loopback it takes DISCOBOT_API_TOKEN; 127\.0\.0\.1 is used/,
  ],
  ['DISCOBOT_PROXY', 'sometimes', /DISCOBOT_PROXY .*want on or off; "on" is used/],
  [
    'DISCOBOT_PROXY_CONFIG',
    '/nowhere/config.yaml',
    /\/nowhere\/config\.yaml: cannot read it: it does not exist/,
  ],
  [
    'DISCOBOT_DOCKERD_ARGS',
    "--label 'open",
    /DISCOBOT_DOCKERD_ARGS .*a quote ' is never closed; dockerd gets none of them/,
  ],
  ['DISCOBOT_DOCKER_CLIENT_PROXY', 'yes', /DISCOBOT_DOCKER_CLIENT_PROXY .*want off or on; "off" is used/],
  [
    'DISCOBOT_SHUTDOWN_ORDER',
    'random',
    /DISCOBOT_SHUTDOWN_ORDER .*want dependents-first or document; "dependents-first" is used/,
  ],
  ['DISCOBOT_LOG_LEVEL', 'loud', /DISCOBOT_LOG_LEVEL .*want info or debug or warn or error; "info" is used/],
  ['DISCOBOT_LOG_FORMAT', 'xml', /DISCOBOT_LOG_FORMAT .*want text or json; "text" is used/],
  ['DISCOBOT_LOG_FILES', '-3', /DISCOBOT_LOG_FILES .*want a whole number up to 100; 3 is used/],
  ['DISCOBOT_LOG_FILE_SIZE', 'huge', /DISCOBOT_LOG_FILE_SIZE .*want a size such as 5MB, which is used/],
]

void t.test('variables that cannot be used', { skip: NEEDS_ROOT }, async (t) => {
  const up = await boot(t, Object.fromEntries(ENVIRONMENT.map(([name, value]) => [name, value])))
  told(
    t,
    up,
    ENVIRONMENT.map(([name, value, message]) => [`${name}=${value}`, message]),
  )
  t.equal(await up.container.stop(), 0)
})

/** Of a workspace's file, each entry a mistake; one of them is none. */
const SERVICES: readonly (readonly [entry: string, message: RegExp])[] = [
  ['  BAD: { command: x }', /\.discobot\/services\.yaml:3:3: the name of a service is lower-case letters/],
  ['  empty: {}', /\.discobot\/services\.yaml:4:10: .*a service needs a command/],
  [
    '  typo: { comand: x, command: x }',
    /\.discobot\/services\.yaml:5:11: unknown option "services\.typo\.comand"; did you mean "command"\?/,
  ],
  [
    '  proxy: { command: x }',
    /\.discobot\/services\.yaml:6:3: service "proxy": the name of a built-in service/,
  ],
  [
    '  rooted: { command: x, user: root }',
    /\.discobot\/services\.yaml:7:31: services of a workspace run as discobot; leave "user" out/,
  ],
  [
    '  lost: { command: x, depends: [nobody] }',
    /\.discobot\/services\.yaml:8:33: service "lost" depends on "nobody", which is not there/,
  ],
  [
    '  selfish: { command: x, depends: [selfish] }',
    /\.discobot\/services\.yaml:9:36: service "selfish" depends on "selfish", which cannot be started before it/,
  ],
  [
    '  port: { command: x, ports: [70000] }',
    /\.discobot\/services\.yaml:10:31: .*write a port from 1 to 65535/,
  ],
  [
    '  times: { command: x, stop_timeout: soon }',
    /\.discobot\/services\.yaml:11:38: .*write a time from 1ms to 60m/,
  ],
  [
    '  restless: { command: x, restart: often }',
    /\.discobot\/services\.yaml:12:36: .*write one of on-failure, always, never/,
  ],
  ['  quotes: { command: "sh -c \'open" }', /\.discobot\/services\.yaml:13:22: .*a quote ' is never closed/],
  [
    '  limits: { command: x, limits: { open_files: many } }',
    /\.discobot\/services\.yaml:14:47: .*write a whole number from 0; sizes are in bytes/,
  ],
  [
    '  env: { command: x, env: { "A=B": 1 } }',
    /\.discobot\/services\.yaml:15:36: .*not the name of a variable/,
  ],
  [
    '  probes: { command: x, readiness: { http: ftp://x, tcp: 1 } }',
    /\.discobot\/services\.yaml:16:36: .*write one of http, tcp, unix, file/,
  ],
  [
    '  level: { command: x, log_level: loud }',
    /\.discobot\/services\.yaml:17:35: .*write one of debug, info, warn, error/,
  ],
]

void t.test('services of a workspace that make no sense', { skip: NEEDS_ROOT }, async (t) => {
  const workspace = mkdtempSync(join(tmpdir(), 'discobot-workspace-'))
  t.teardown(() => rmSync(workspace, { recursive: true, force: true }))
  chmodSync(workspace, 0o755)
  mkdirSync(join(workspace, '.discobot'))
  const good = '  good: { command: sleep 1000 }'
  const absent = '  absent: { command: /no/such/program }'
  writeFileSync(
    join(workspace, '.discobot/services.yaml'),
    `services:\n${[good, ...SERVICES.map(([entry]) => entry), absent].join('\n')}\n`,
  )
  const image =
    'mkdir -p /etc/discobot/services.d; echo "services: [" >/etc/discobot/services.d/broken.yaml\n'
  const up = await boot(t, { DISCOBOT_WORKSPACE: workspace }, image, [workspace])
  told(t, up, [...SERVICES, ['a broken file of the image', /broken\.yaml:\d+:\d+/]])
  t.match(
    up.status.services.find(({ name }) => name === 'good'),
    { state: 'ready' },
  )
  t.match(
    up.status.services.find(({ name }) => name === 'absent'),
    { restarts: Number, reason: String },
  )
  t.equal(await up.container.stop(), 0)
})

/** Prepared inside, below `/srv`. */
const WORKSPACES: readonly (readonly [
  what: string,
  env: Readonly<Record<string, string>>,
  prepare: string,
  message: RegExp,
])[] = [
  [
    'a folder that is not there',
    { DISCOBOT_WORKSPACE: '/srv/absent' },
    '',
    /cannot copy \/srv\/absent: .*there is no such directory/,
  ],
  [
    'a file',
    { DISCOBOT_WORKSPACE: '/srv/file' },
    'echo >/srv/file',
    /cannot copy \/srv\/file: .*it is not a directory/,
  ],
  [
    'a transport that runs commands',
    { DISCOBOT_WORKSPACE: 'ext::sh -c evil' },
    '',
    /cannot use DISCOBOT_WORKSPACE: /,
  ],
  [
    'an option',
    { DISCOBOT_WORKSPACE: '--upload-pack=evil' },
    '',
    /cannot use DISCOBOT_WORKSPACE: it begins with "-"/,
  ],
  [
    'a server that is not there',
    { DISCOBOT_WORKSPACE: 'https://127.0.0.1:9/repo.git' },
    '',
    /cannot clone https:\/\/127\.0\.0\.1:9\/repo\.git: unable to access/,
  ],
  [
    'no repository',
    { DISCOBOT_WORKSPACE: 'file:///srv/none' },
    'mkdir /srv/none',
    /cannot clone file:\/\/\/srv\/none: .*does not appear to be a git repository/,
  ],
  [
    'a ref that is not there',
    { DISCOBOT_WORKSPACE: 'file:///srv/repo', DISCOBOT_WORKSPACE_REF: 'gone' },
    'git init -q /srv/repo; cd /srv/repo; git -c user.name=a -c user.email=a@b.test commit -q --allow-empty -m one',
    /cannot clone file:\/\/\/srv\/repo: cannot check out .*"gone": the repository has no such branch/,
  ],
  [
    'a ref that is an option',
    { DISCOBOT_WORKSPACE: 'file:///srv/repo', DISCOBOT_WORKSPACE_REF: '--help' },
    '',
    /cannot clone file:\/\/\/srv\/repo: cannot use DISCOBOT_WORKSPACE_REF .*want the name of a branch or tag/,
  ],
  [
    'a key that is none',
    { DISCOBOT_WORKSPACE: 'ssh://git@127.0.0.1:9/repo.git', DISCOBOT_GIT_SSH_KEY: '/srv/no-key' },
    '',
    /cannot clone ssh:\/\/git@127\.0\.0\.1:9\/repo\.git: cannot check the host key/,
  ],
]

for (const [what, env, prepare, message] of WORKSPACES) {
  void t.test(`a workspace from ${what}`, { skip: NEEDS_ROOT }, async (t) => {
    const up = await boot(t, env, `mkdir -p /srv\n${prepare}\n`)
    told(t, up, [[what, message]])
    t.equal((await up.container.exec('ls -A /workspace/')).stdout, '', 'an empty one takes its place')
  })
}
