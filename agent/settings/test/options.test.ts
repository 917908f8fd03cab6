import t from 'tap'
import { stopGraces } from '../../services/shutdown.js'
import { CommandWordsError, splitCommand } from '../command-words.js'
import { isImageInContainer } from '../place.js'
import { OptionsError, readOptions, SECRET_VARIABLES, type AgentOptions } from '../options.js'

const GUEST = { pid: 4711, uid: 1001, cwd: '/home/ada/project', homedir: '/home/ada' }
const INIT = { pid: 1, uid: 0, cwd: '/', homedir: '/root' }

const guest = (env: Record<string, string> = {}): AgentOptions => readOptions({ ...GUEST, env })
const init = (env: Record<string, string> = {}): AgentOptions => readOptions({ ...INIT, env })

void t.test('outside a container everything stays below the data dir', (t) => {
  const options = guest({ DISCOBOT_DATA_DIR: './data' })
  t.equal(options.mode, 'plain')
  t.equal(options.data.root, '/home/ada/project/data')
  t.equal(options.workspace.path, '/home/ada/project/data/workspace')
  t.equal(options.workspace.link, undefined)
  t.equal(options.controlSocket, '/home/ada/project/data/agent.sock')
  t.equal(options.user, undefined)
  t.equal(options.home, '/home/ada')
  t.equal(guest().data.root, '/home/ada/project/.data')
  t.strictSame(options.problems, [])
  t.end()
})

void t.test('as process 1 the names are those of design.md', (t) => {
  const options = init()
  t.match(options, {
    mode: 'container',
    home: '/home/discobot',
    user: 'discobot',
    workspace: { path: '/home/discobot/workspace', link: '/workspace' },
    controlSocket: '/run/discobot/agent.sock',
    agentPort: 3002,
    agentPortNamed: false,
    docker: 'auto',
    proxy: 'on',
    shutdownOrder: 'dependents-first',
    sessionId: 'default',
    log: { level: 'info', format: 'text', files: 3, fileBytes: 5 * 1024 * 1024 },
  })
  t.equal(options.data.root, '/.data')
  t.ok(Object.isFrozen(options) && Object.isFrozen(options.workspace))
  t.end()
})

void t.test('whether it is a container is not told by the process number alone', (t) => {
  const modeOf = (sources: object, env = {}): readonly unknown[] => {
    const { mode, data, problems } = readOptions({ ...GUEST, uid: 0, ...sources, env })
    return [mode, data.root, problems.length]
  }
  t.strictSame(modeOf({ ofImage: true }), ['container', '/.data', 0], 'docker run --init')
  t.strictSame(modeOf({ ofImage: true }, { DISCOBOT_MODE: 'plain' })[0], 'plain')
  t.strictSame(modeOf({}), ['plain', '/home/ada/project/.data', 0], 'a checkout')
  t.strictSame(modeOf({}, { DISCOBOT_MODE: 'container' }), ['container', '/.data', 0])
  t.strictSame(modeOf({ pid: 1 }, { DISCOBOT_MODE: 'plain' })[0], 'plain')
  t.strictSame(modeOf({ uid: 1000 }, { DISCOBOT_MODE: 'container' }), ['plain', '/home/ada/project/.data', 1])
  t.strictSame(
    modeOf({ uid: 1000, ofImage: true }),
    ['plain', '/home/ada/project/.data', 0],
    'who asks inside',
  )

  const program = '/opt/discobot/lib/agent.cjs'
  const at = (marks: string[], pids: string | undefined): boolean =>
    isImageInContainer(program, { exists: (path) => marks.includes(path), link: () => pids })
  t.ok(at(['/.dockerenv'], 'pid:[4026531836]'), 'with the process numbers of the machine')
  t.ok(at(['/run/.containerenv'], undefined))
  t.ok(at([], 'pid:[4026532001]'), 'an engine that leaves no mark')
  t.notOk(at([], 'pid:[4026531836]'), 'unpacked on a machine')
  t.notOk(
    isImageInContainer('/srv/discobot/dist/agent/main.js', { exists: () => true, link: () => 'pid:[1]' }),
  )
  t.end()
})

void t.test('process 1 without root is a guest and says so', (t) => {
  const options = readOptions({ ...INIT, uid: 1000, env: {} })
  t.equal(options.mode, 'plain')
  t.match(options.problems, [/uid 1000, not root/])
  t.end()
})

void t.test(
  'a value that cannot be used is named with what would be right, and its default is taken',
  (t) => {
    const table: readonly (readonly [string, string, RegExp, (options: AgentOptions) => unknown, unknown])[] =
      [
        [
          'DISCOBOT_AGENT_PORT',
          '99999',
          /"99999": want a port from 1 to 65535; 3002 is used/,
          (o) => o.agentPort,
          3002,
        ],
        ['DISCOBOT_AGENT_PORT', '-1', /"-1": want a port/, (o) => o.agentPort, 3002],
        ['DISCOBOT_AGENT_PORT', '0', /"0": want a port/, (o) => o.agentPort, 3002],
        ['DISCOBOT_AGENT_PORT', '0x50', /"0x50": want a port/, (o) => o.agentPort, 3002],
        [
          'DISCOBOT_AGENT_HOST',
          'box',
          /want an IP address; 127.0.0.1 is used/,
          (o) => o.agentHost,
          '127.0.0.1',
        ],
        ['DISCOBOT_AGENT_HOST', '0.0.0.0', /takes DISCOBOT_API_TOKEN; 127/, (o) => o.agentHost, '127.0.0.1'],
        [
          'DISCOBOT_DOCKER',
          'yes',
          /"yes": want auto or rootless or rootful or off; "auto"/,
          (o) => o.docker,
          'auto',
        ],
        ['DISCOBOT_PROXY', '0', /"0": want on or off; "on" is used/, (o) => o.proxy, 'on'],
        [
          'DISCOBOT_LOG_LEVEL',
          'loud',
          /want info or debug or warn or error; "info" is used/,
          (o) => o.log.level,
          'info',
        ],
        ['DISCOBOT_LOG_FORMAT', 'xml', /want text or json/, (o) => o.log.format, 'text'],
        [
          'DISCOBOT_SHUTDOWN_ORDER',
          'random',
          /want dependents-first or document/,
          (o) => o.shutdownOrder,
          'dependents-first',
        ],
        ['DISCOBOT_USER', 'Robert"); --', /want a name of at most 32/, (o) => o.user, 'discobot'],
        ['DISCOBOT_USER', '-u0', /"discobot" is used/, (o) => o.user, 'discobot'],
        ['DISCOBOT_USER', 'discobot-proxy', /not the proxy's own/, (o) => o.user, 'discobot'],
        ['DISCOBOT_SESSION_ID', '../../etc', /"default" is used/, (o) => o.sessionId, 'default'],
        [
          'DISCOBOT_AGENT_COMMAND',
          'run "it',
          /a quote " is never closed; the built-in agent API is used/,
          (o) => o.agentCommand,
          undefined,
        ],
        [
          'DISCOBOT_AGENT_COMMAND',
          'a | b',
          /holds "\|", which needs a shell/,
          (o) => o.agentCommand,
          undefined,
        ],
        ['DISCOBOT_AGENT_COMMAND', '["a", 1]', /strings only/, (o) => o.agentCommand, undefined],
        ['DISCOBOT_DOCKERD_ARGS', "--debug '", /dockerd gets none of them/, (o) => o.dockerdArgs, []],
      ]
    for (const [name, value, problem, read, expected] of table) {
      const options = init({ [name]: value })
      t.equal(options.problems.length, 1, `${name}=${value}`)
      t.match(options.problems[0], problem)
      t.ok(options.problems[0]?.startsWith(`${name} `))
      t.strictSame(read(options), expected)
    }
    t.end()
  },
)

void t.test('the token of the agent API opens other addresses, and is kept as a digest only', (t) => {
  const options = init({ DISCOBOT_AGENT_HOST: '::', DISCOBOT_API_TOKEN: 'a-token-of-more-than-16' })
  t.match(options, { agentHost: '::', apiTokenSha256: /^[0-9a-f]{64}$/, problems: [] })
  t.equal(options.inherited['DISCOBOT_API_TOKEN'], undefined)
  const short = init({ DISCOBOT_API_TOKEN: 'short' })
  t.match(short, { apiTokenSha256: /^0{64}$/, problems: [/^DISCOBOT_API_TOKEN: want 16 to 256/] })
  t.end()
})

void t.test('a data dir that cannot be one ends it: nothing could be kept anywhere', (t) => {
  t.throws(() => init({ DISCOBOT_DATA_DIR: '/' }), OptionsError)
  t.end()
})

void t.test('an empty variable counts as absent', (t) => {
  const options = init({ DISCOBOT_USER: '', DISCOBOT_AGENT_PORT: ' ', DISCOBOT_WORKSPACE: '' })
  t.equal(options.user, 'discobot')
  t.equal(options.workspace.source, undefined)
  t.strictSame(options.problems, [])
  t.end()
})

void t.test('our secrets are not in what services inherit', (t) => {
  const hushed = [...SECRET_VARIABLES, 'DISCOBOT_SECRET_API_KEY'].map((name) => [name, 'hush'] as const)
  const env = { ...Object.fromEntries(hushed), OPERATORS_OWN: 'kept' }
  const { inherited, secrets, workspace } = init(env)
  t.strictSame(inherited, { OPERATORS_OWN: 'kept' })
  t.strictSame(secrets, Object.fromEntries(hushed))
  t.equal(workspace.gitToken, 'hush')
  t.end()
})

void t.test('a command is split as a shell would, without one', (t) => {
  const table: readonly (readonly [string, readonly string[]])[] = [
    ['node server.js', ['node', 'server.js']],
    [`  sh -c 'echo "a  b"; exit 3' `, ['sh', '-c', 'echo "a  b"; exit 3']],
    [
      String.raw`printf "%s\n" "a\"b" 'c\d' e\ f`,
      ['printf', String.raw`%s\n`, 'a"b', String.raw`c\d`, 'e f'],
    ],
    [`a ''`, ['a', '']],
    [`a"b"'c'd`, ['abcd']],
    ['echo $HOME `id` *', ['echo', '$HOME', '`id`', '*']],
    ['["sh", "-c", "exit 3"]', ['sh', '-c', 'exit 3']],
  ]
  for (const [text, words] of table) t.strictSame(splitCommand(text), words, text)
  for (const text of ['', '   ', `''`, '[]', '[1]', '["a"', 'a > b', 'a && b', 'a; b', '(a)', 'a\\']) {
    t.throws(() => splitCommand(text), CommandWordsError, text)
  }
  t.end()
})

void t.test('a stop takes as long as was said, and less where the container would be killed', (t) => {
  t.equal(init().stopTimeoutMs, 35_000)
  t.equal(init({ DISCOBOT_STOP_TIMEOUT: '90' }).stopTimeoutMs, 90_000)
  t.equal(init({ DISCOBOT_STOP_TIMEOUT: '1500ms' }).stopTimeoutMs, 1_500)
  t.strictSame(init({ DISCOBOT_STOP_TIMEOUT: '1m', DISCOBOT_CONTAINER_STOP_TIMEOUT: '60s' }).problems, [])
  const docker = init({ DISCOBOT_CONTAINER_STOP_TIMEOUT: '10' })
  t.equal(docker.stopTimeoutMs, 9_500)
  t.match(docker.problems, [/35000 ms are more than the container itself gives .* 9500 ms are used/])
  const short = init({ DISCOBOT_CONTAINER_STOP_TIMEOUT: '200ms' })
  t.equal(short.stopTimeoutMs, 100)
  for (const value of ['0', '-1', 'soon', '1w', '1e3s']) {
    const { stopTimeoutMs, problems } = init({ DISCOBOT_STOP_TIMEOUT: value })
    t.equal(stopTimeoutMs, 35_000)
    t.match(problems, [/^DISCOBOT_STOP_TIMEOUT .* want a time such as/])
  }
  t.strictSame(stopGraces(init()), { agentApi: 10_000, dockerd: 20_000, proxy: 5_000 })
  t.strictSame(stopGraces(init({ DISCOBOT_STOP_TIMEOUT: '7s' })), {
    agentApi: 2_000,
    dockerd: 4_000,
    proxy: 1_000,
  })
  t.end()
})
