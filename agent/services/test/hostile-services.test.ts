import { symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseServices } from '../file-format.js'
import type { Probe, ServiceSpec } from '../spec.js'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { startIsolated } from '../../../test/lab/isolated.js'
import { makeLab, script, shell, shortFolder, waitFor, type Lab } from '../../../test/lab/service-lab.js'

// The promise: whatever a file of a stranger asks for costs its own service at most, and never process 1.

const NO_SERVER = 'exec sleep 60'

function unready(name: string, readiness: Probe, more: Partial<ServiceSpec> = {}): ServiceSpec {
  return shell(name, NO_SERVER, { readiness, readyTimeoutMs: 300, ...more })
}

function mistakesOf(readiness: string): string[] {
  return parseServices(`services:\n  web: { command: x, readiness: ${readiness} }\n`).complaints.map(
    ({ mark, message }) => `${mark.line}:${mark.col} ${message}`,
  )
}

void t.test('a question that nothing can answer is a mistake in the file, with its value', (t) => {
  const long = 'a'.repeat(256)
  const wrong: [readiness: string, option: string, told: RegExp][] = [
    ['{ unix: /run/x.sock, path: "/a b" }', 'readiness.path', /"\/a b" cannot be asked for.*%20/],
    ['{ unix: /run/x.sock, path: "/\\u00e4" }', 'readiness.path', /"\/ä" cannot be asked for/],
    ['{ unix: /run/x.sock, path: health }', 'readiness.path', /"health" cannot be asked for; begin with \//],
    ['{ unix: /run/x.sock, path: "/a\\r\\nHost: b" }', 'readiness.path', /cannot be asked for/],
    [`{ unix: /run/${'a'.repeat(103)} }`, 'readiness.unix', /107 bytes at most/],
    ['{ unix: run/x.sock }', 'readiness.unix', /"run\/x.sock": write an absolute path/],
    [`{ file: /run/${long} }`, 'readiness.file', /a name in a path may have 255 bytes/],
    [`{ file: "${'/abcdefg'.repeat(512)}" }`, 'readiness.file', /a path may have 4095 bytes/],
    ['{ file: done }', 'readiness.file', /"done": write an absolute path/],
    ['{ http: "http://localhost:0/" }', 'readiness.http', /write an http:\/\/ URL/],
    ['{ http: "http://a b/" }', 'readiness.http', /"http:\/\/a b\/": write an http:\/\/ URL/],
    ['{ tcp: "local host:3000" }', 'readiness.tcp', /"local host" is no host; write a port, or HOST:PORT/],
    [`{ tcp: "${long}:3000" }`, 'readiness.tcp', /is no host/],
    ['{ tcp: "localhost:99999" }', 'readiness.tcp', /write a port/],
  ]
  for (const [readiness, option, told] of wrong) {
    const mistakes = mistakesOf(readiness)
    t.equal(mistakes.length, 1, readiness.slice(0, 60))
    t.match(mistakes[0], /^2:\d+ /)
    t.match(mistakes[0], `option "services.web.${option}": `)
    t.match(mistakes[0], told)
  }
  for (const right of ['{ unix: /run/x.sock, path: "/a%20b?c=d" }', '{ tcp: "[::1]:80" }', '{ tcp: 80 }'])
    t.strictSame(mistakesOf(right), [], right)
  t.end()
})

void t.test('what the system says to a question is why the service is not ready', async (t) => {
  const lab = makeLab(t)
  const folder = shortFolder(t)
  symlinkSync('loop', join(folder, 'loop'))
  writeFileSync(join(folder, 'file'), '')
  const socket = (name: string): Probe => ({ kind: 'unix-http', socketPath: join(folder, name), path: '/' })
  const cases: [Probe, RegExp][] = [
    [{ kind: 'file', path: join(folder, 'loop') }, /within 300 ms \(ELOOP: .*\)$/],
    [{ kind: 'file', path: join(folder, 'loop/below') }, /\(ELOOP: .*\)$/],
    [socket('loop'), /\(connect ELOOP .*\)$/],
    [socket('file'), /within 300 ms$/],
    [{ kind: 'tcp', host: 'name.invalid', port: 80 }, /within 300 ms( \(getaddrinfo .*\))?$/],
  ]
  for (const [index, [readiness, told]] of cases.entries()) {
    lab.supervisor.add(unready(`s${index}`, readiness))
    await t.rejects(lab.supervisor.start(`s${index}`), { code: 'SERVICE_START_FAILED', message: told })
  }
  // A stranger's server would be taken for the service's, so these begin to listen after the start.
  const late: [string, RegExp][] = [
    ["require('http').createServer((q, r) => r.writeHead(503).end())", /\(it answered 503\)/],
    [
      "require('net').createServer((s) => s.on('error', () => 0).end('no HTTP\\r\\n\\r\\n'))",
      /\(Parse Error/,
    ],
  ]
  for (const [index, [server, told]] of late.entries()) {
    const path = join(folder, `late${index}`)
    const listening = script(`late${index}`, `${server}.listen('${path}')`, {
      readiness: { kind: 'unix-http', socketPath: path, path: '/' },
      readyTimeoutMs: 1_500,
    })
    lab.supervisor.add(listening)
    await t.rejects(lab.supervisor.start(`late${index}`), { message: told })
  }
})

void t.test(
  'a liveness question that throws counts as no answer, and the service is started again',
  async (t) => {
    const lab = makeLab(t)
    const path = join(shortFolder(t), 'alive')
    const liveness = { probe: { kind: 'file', path }, periodMs: 50, timeoutMs: 100, threshold: 2 } as const
    lab.supervisor.add(
      shell('turns', `ln -sfn alive ${path}; exec sleep 60`, { liveness, restart: 'on-failure' }),
    )
    await lab.supervisor.start('turns')
    const told = await waitFor('the restart', () =>
      lab.lines.find(({ message }) => message === 'service ended, will start again'),
    )
    t.match(told.fields, { reason: /^no answer from .*alive, asked 2 times \(ELOOP: / })
  },
)

void t.test('"localhost" is whichever of the two loopback addresses the service listens at', async (t) => {
  const lab = makeLab(t)
  for (const [index, address] of ['127.0.0.1', '::1'].entries()) {
    const free = createServer()
    await new Promise<void>((resolve) => free.listen(0, address, resolve))
    const { port } = free.address() as AddressInfo
    await new Promise((resolve) => free.close(resolve))
    const listen = `require('http').createServer((q, r) => r.end(q.headers.host)).listen(${port}, '${address}')`
    const asked: Probe[] = [
      { kind: 'tcp', host: 'localhost', port },
      { kind: 'http', url: `http://LOCALHOST:${port}/` },
    ]
    for (const readiness of asked) {
      const name = `${readiness.kind}${index}`
      lab.supervisor.add(script(name, listen, { readiness }))
      await lab.supervisor.start(name)
      lab.supervisor.add(unready(`${name}-other`, readiness))
      await t.rejects(lab.supervisor.start(`${name}-other`), { message: /something else already listens/ })
      await lab.supervisor.stop(name)
    }
    const [v4] = [{ kind: 'tcp', host: '127.0.0.1', port } as const]
    lab.supervisor.add(script(`v4-${index}`, listen, { readiness: v4, readyTimeoutMs: 700 }))
    if (address === '::1')
      await t.rejects(lab.supervisor.start(`v4-${index}`), { code: 'SERVICE_START_FAILED' })
    else await lab.supervisor.start(`v4-${index}`)
    await lab.supervisor.stop(`v4-${index}`)
  }
  t.match(parseServices('services: { web: { command: x, ports: [3000] } }').entries, [
    { readiness: { kind: 'tcp', host: 'localhost', port: 3000 } },
  ])
})

/** A mistake of ours in what belongs to one service alone: its log, its control group. */
function faulty(name: string, lab: Lab): void {
  const { lines } = lab
  const push = lines.push.bind(lines)
  lines.push = (...added) => {
    if (added.some(({ message, fields }) => message === 'service ready' && fields['service'] === name))
      throw new Error('a mistake of ours')
    return push(...added)
  }
}

void t.test(
  'a fault of ours in one service ends that one, and is told with its stack at debug level',
  async (t) => {
    const lab = makeLab(t)
    faulty('hit', lab)
    lab.supervisor.add(shell('other', NO_SERVER))
    await lab.supervisor.start('other')
    lab.supervisor.add(shell('hit', NO_SERVER, { restart: 'always' }))
    await t.rejects(lab.supervisor.start('hit'), {
      message: /a fault of the agent itself: a mistake of ours/,
    })
    t.match(lab.supervisor.statusOf('hit'), { state: 'failed', pid: undefined, reason: /a mistake of ours/ })
    t.match(lab.supervisor.statusOf('other'), { state: 'ready' })
    const told = lab.lines.filter(({ fields }) => fields['where'] === 'service hit')
    t.match(told, [
      { level: 'error', message: 'fault of the agent itself', fields: { reason: 'a mistake of ours' } },
      { level: 'debug', fields: { stack: /at .*hostile-services/ } },
    ])
    t.strictSame(lab.failures, [])
    t.equal(await lab.supervisor.stop('hit'), 'ended', 'nothing of it is left')
    await t.rejects(
      lab.supervisor.start('hit'),
      { code: 'SERVICE_START_FAILED' },
      'and it can be asked for again',
    )
  },
)

void t.test(
  'an essential service that a fault ends, ends the container in order; a stop goes past a fault',
  async (t) => {
    const kill = {
      kill: () => Promise.reject(new Error('another mistake')),
      pids: () => [],
      remove: () => undefined,
    }
    const group = Object.assign(kill, { within: (command: readonly [string, ...string[]]) => command })
    const groups = {
      description: 'for a test',
      delegationOf: () => 'none',
      groupOf: (name: string) => (name === 'stuck' ? (group as never) : undefined),
      remove: () => undefined,
    }
    const lab = makeLab(t, { groups })
    faulty('vital', lab)
    lab.supervisor.add(shell('vital', NO_SERVER, { essential: true }))
    await t.rejects(lab.supervisor.start('vital'), { code: 'SERVICE_START_FAILED' })
    t.match(lab.failures, [{ service: 'vital', exitCode: 1 }])
    for (const name of ['first', 'stuck', 'last']) {
      lab.supervisor.add(shell(name, NO_SERVER, { after: name === 'first' ? [] : ['first'] }))
      await lab.supervisor.start(name)
    }
    const report = await lab.supervisor.stopAll({ deadlineMs: 5_000 })
    t.strictSame(report.left, ['stuck'])
    for (const name of ['first', 'last']) t.equal(lab.supervisor.statusOf(name).state, 'stopped', name)
    t.ok(
      lab.lines.some(
        ({ fields }) => fields['where'] === 'service stuck' && fields['reason'] === 'another mistake',
      ),
    )
  },
)

void t.test('without a descriptor left, a service is not started, and nothing else happens', (t) => {
  const worker = fileURLToPath(new URL('without-descriptors.js', import.meta.url))
  const { stdout, stderr, status } = spawnSync(
    'sh',
    ['-c', 'ulimit -n 64; exec "$0" "$1"', process.execPath, worker],
    {
      encoding: 'utf8',
    },
  )
  t.equal(status, 0, stderr)
  t.match(JSON.parse(stdout), { code: 'SERVICE_START_FAILED', message: /EMFILE/, faults: 0 })
  t.end()
})

const HOSTILE = `services:
  blank: { command: sleep 1000, readiness: { unix: /run/x.sock, path: "/a b" } }
  loop: { command: sh -c "ln -sfn loop /tmp/loop; exec sleep 1000", readiness: { file: /tmp/loop }, ready_timeout: 1s, restart: never }
  long: { command: sleep 1000, readiness: { file: /${'a'.repeat(300)} } }
  sock: { command: sleep 1000, readiness: { unix: /${'a'.repeat(120)} } }
  turns: { command: sh -c "ln -sfn turns /tmp/turns; exec sleep 1000", liveness: { file: /tmp/turns, period: 50ms, threshold: 1 }, restart: never }
  bad-cwd: { command: sleep 1000, cwd: /${'b/'.repeat(3000)}, restart: never }
  good: { command: sh -c "echo good is here; exec sleep 1000" }
`

void t.test('a container boots and lives with a hostile services.yaml', { skip: NEEDS_ROOT }, async (t) => {
  const prepare = `mkdir -p /srv/project/.discobot; cat >/srv/project/.discobot/services.yaml <<'EOF'\n${HOSTILE}EOF\n`
  const env = { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY: 'off', DISCOBOT_WORKSPACE: '/srv/project' }
  const container = await startIsolated(t, { prepare, env })
  await container.logged(/Discobot is up/)
  await container.logged(/good is here/)
  await container.logged(/service failed .*service=turns .*ELOOP/)
  const logs = container.logs()
  for (const [line, told] of [
    [2, 'cannot be asked for'],
    [4, '255 bytes'],
    [5, '107 bytes'],
  ] as const)
    t.match(logs, new RegExp(`services\\.yaml:${line}:\\d+: option .*${told}`))
  t.match(logs, /cannot start loop: no answer from \/tmp\/loop within 1000 ms \(ELOOP/)
  t.match(logs, /cannot start bad-cwd/)
  t.notMatch(logs, /fault of the agent/)
  t.equal(await container.stop(), 0)
})
