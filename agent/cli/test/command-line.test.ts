import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import t from 'tap'
import { dataDirWhenUnnamed } from '../../../config/model/paths.js'
import { KNOWN_VARIABLES, misspeltVariables } from '../../settings/known-variables.js'
import { readOptions } from '../../settings/options.js'
import { BUILT } from '../../../test/lab/isolated.js'
import { shortFolder } from '../../../test/lab/service-lab.js'

// Each program says what it is, and tells a mistake in its command line first, in words for people.

interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function call(
  program: 'agent' | 'proxy',
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Result> {
  return new Promise((resolve) => {
    const child = execFile(
      execPath,
      [join(BUILT, program, 'main.js'), ...args],
      { env: { PATH: process.env['PATH'] ?? '', ...env } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

void t.test('help and version are words as well as options, of every program', async (t) => {
  for (const program of ['agent', 'proxy'] as const) {
    for (const ask of ['help', '--help', '-h'])
      t.match(await call(program, [ask]), { code: 0, stdout: new RegExp(`^Usage: discobot-${program}`) }, ask)
    for (const ask of ['version', '--version', '-v'])
      t.match(await call(program, [ask]), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' }, ask)
  }
  t.match(await call('proxy', ['help', 'export']), { code: 0, stderr: /^Usage: discobot-proxy export/ })
})

void t.test('a mistake is told first, with what was meant, and in no words of the parser', async (t) => {
  const wrong: readonly (readonly ['agent' | 'proxy', readonly string[], RegExp])[] = [
    ['agent', ['statsu'], /^discobot-agent: unknown command "statsu"; did you mean "status"\?\n\nUsage: /],
    ['agent', ['constructor'], /^discobot-agent: unknown command "constructor"\n/],
    ['agent', ['status', '--jsno'], /^discobot-agent: unknown option "--jsno"; did you mean "--json"\?\n/],
    ['agent', ['logs', '-n'], /^discobot-agent: -n needs a value\n/],
    ['agent', ['status', '--json=yes'], /^discobot-agent: --json takes no value\n/],
    [
      'proxy',
      ['prewram', 'alpine'],
      /^discobot-proxy: unknown command "prewram"; did you mean "prewarm"\?\n/,
    ],
    [
      'proxy',
      ['--confg', 'x.yaml'],
      /^discobot-proxy: unknown option "--confg"; did you mean "--config"\?\n/,
    ],
    ['proxy', ['-config'], /^discobot-proxy: --config needs a value\n/],
    [
      'proxy',
      ['export', '--rul', 'npm'],
      /^discobot-proxy: unknown option "--rul"; did you mean "--rule"\?\n/,
    ],
    ['proxy', ['cache', '--api-port', '--json'], /^discobot-proxy: --api-port needs a value\n/],
  ]
  for (const [program, args, stderr] of wrong) {
    const result = await call(program, args)
    t.match(result, { code: 2, stdout: '', stderr }, args.join(' '))
    t.notMatch(result.stderr, /positional|ERR_|at .*node:/, args.join(' '))
  }
})

void t.test('a file that is not there, or not ours, is no reason for a stack', async (t) => {
  const folder = shortFolder(t)
  mkdirSync(join(folder, 'proxy'))
  writeFileSync(join(folder, 'plain'), '')
  const env = { DISCOBOT_DATA_DIR: folder }
  for (const args of [
    ['import', '/nonexistent/warm.tar'],
    ['export', '-o', '/nonexistent/warm.tar'],
    ['export', '-o', join(folder, 'plain', 'warm.tar')],
  ]) {
    const { code, stderr } = await call('proxy', args, env)
    t.equal(code, 1, args.join(' '))
    t.match(stderr, /^discobot-proxy: cannot (import|export) .*warm\.tar: /, args.join(' '))
    t.notMatch(stderr, /\n\s+at /, args.join(' '))
  }
})

void t.test('a variable that is nearly one of ours is named with what was meant', (t) => {
  const env = {
    DISCOBOT_WORKSPCE: 'x',
    DISCOBOT_PROXY_CONFG: 'x',
    DISCOBOT_STOP_TIMEOUTS: '1s',
    DISCOBOT_SECRET_TOKNE: 'x',
    DISCOBOT_ELSEWHERE_ENTIRELY: 'x',
  }
  t.strictSame(misspeltVariables(env), [
    'DISCOBOT_WORKSPCE: there is no such variable; did you mean DISCOBOT_WORKSPACE?',
    'DISCOBOT_PROXY_CONFG: there is no such variable; did you mean DISCOBOT_PROXY_CONFIG?',
    'DISCOBOT_STOP_TIMEOUTS: there is no such variable; did you mean DISCOBOT_STOP_TIMEOUT?',
  ])
  const { problems } = readOptions({ env, pid: 1, uid: 0, cwd: '/', homedir: '/root' })
  t.match(problems, [/WORKSPCE/, /CONFG/, /TIMEOUTS/])
  t.strictSame(misspeltVariables(Object.fromEntries(KNOWN_VARIABLES.map((name) => [name, 'x']))), [])
  t.end()
})

void t.test('the proxy alone makes nothing at the root of a machine', (t) => {
  t.equal(
    dataDirWhenUnnamed(() => false),
    '.data',
  )
  t.equal(
    dataDirWhenUnnamed((path) => path === '/.data'),
    '/.data',
    "the image's volume",
  )
  t.end()
})
