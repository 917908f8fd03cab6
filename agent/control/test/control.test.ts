import { spawn } from 'node:child_process'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { fetchStatus } from '../client.js'
import { startControlServer, type ControlDeps } from '../server.js'
import type { AgentStatus } from '../../status/status.js'
import { renderStatus } from '../../cli/commands/status-table.js'
import { describeEngine } from '../../docker/engine.js'
import { LogStore } from '../../logs/log-store.js'
import { shortFolder, waitFor } from '../../../test/lab/service-lab.js'

const STATUS: AgentStatus = {
  version: '0.1.0',
  pid: 1,
  uptimeMs: 3_725_000,
  phase: 'running',
  boot: [
    { name: 'home', state: 'done', startedMs: 0, tookMs: 12 },
    {
      name: 'dockerd',
      state: 'degraded',
      startedMs: 12,
      tookMs: 12,
      note: 'not permitted; run with --privileged',
    },
  ],
  services: [
    { name: 'proxy', state: 'ready', pid: 17, since: '2026-01-01T00:00:00.000Z', restarts: 0 },
    {
      name: 'agent-api',
      state: 'backing-off',
      since: '2026-01-01T00:03:20.000Z',
      restarts: 3,
      lastExit: 'exit code 1',
      reason: 'exit code 1; next start in 4000 ms',
    },
  ],
  reaper: { backend: 'koffi', reaped: 212, zombies: 1 },
  degraded: ['dockerd: not permitted; run with --privileged'],
  extra: { bundled: false },
}

/** Nothing can be changed here; control-verbs.test has services for that. */
function deps(socketPath: string, more: Partial<ControlDeps> = {}, status = () => STATUS): ControlDeps {
  const actions = {
    logs: new LogStore({ maxBytesPerService: 1_000 }),
    status,
    guards: () => false,
    change: () => Promise.reject(new Error('no services')),
    signal: () => false,
    reload: () => Promise.reject(new Error('nothing to read')),
  }
  return { socketPath, logger: silentLogger, ownUid: process.getuid?.() ?? -1, actions, ...more }
}

function ask(
  socketPath: string,
  path: string,
  method = 'GET',
): Promise<{ status: number; type: string; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, method }, (response) => {
      let body = ''
      response.on('data', (chunk) => (body += String(chunk)))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', body }),
      )
    })
    asked.on('error', reject).end()
  })
}

t.test('the status is told over a socket that only owner and group may use', async (t) => {
  const socketPath = join(shortFolder(t), 'run', 'agent.sock')
  const gid = process.getuid?.() === 0 ? 4_242 : process.getgid?.()
  const server = await startControlServer(deps(socketPath, gid === undefined ? {} : { gid }))
  const { mode, gid: group } = statSync(socketPath)
  t.equal(mode & 0o777, 0o660)
  t.equal(group, gid)
  t.strictSame(await fetchStatus(socketPath), STATUS)
  await server.close()
  t.notOk(existsSync(socketPath))
})

t.test('what is not there, not possible or broken is answered as RFC 9457 says', async (t) => {
  const socketPath = join(shortFolder(t), 'agent.sock')
  const broken = (): never => {
    throw new Error('broken')
  }
  const server = await startControlServer(deps(socketPath, {}, broken))
  t.teardown(() => server.close())
  for (const [path, method, status] of [
    ['/nothing', 'GET', 404],
    ['/status', 'POST', 405],
    ['/status', 'GET', 500],
  ] as const) {
    const answer = await ask(socketPath, path, method)
    t.match(answer, { status, type: 'application/problem+json' })
    t.match(JSON.parse(answer.body), { type: 'about:blank', status, title: String, detail: String })
  }
  await t.rejects(fetchStatus(socketPath), {
    code: 'CONTROL_FAILED',
    status: 500,
    message: /the agent failed to answer/,
  })
})

t.test('a socket left behind is replaced, a living one and a file are not', async (t) => {
  const folder = shortFolder(t)
  writeFileSync(join(folder, 'file'), 'precious')
  const socketPath = join(folder, 'agent.sock')
  const code = `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => console.log('up'))`
  const dead = spawn(process.execPath, ['-e', code])
  t.teardown(() => dead.kill('SIGKILL'))
  const ended = new Promise((resolve) => dead.on('exit', resolve))
  await waitFor('the socket', () => existsSync(socketPath))
  dead.kill('SIGKILL')
  await ended
  t.ok(existsSync(socketPath), 'left behind')

  await t.rejects(fetchStatus(socketPath), {
    message: `cannot ask the agent at ${socketPath}: no agent is running there`,
  })
  const server = await startControlServer(deps(socketPath))
  t.teardown(() => server.close())
  t.match(await fetchStatus(socketPath), { phase: 'running' })
  await t.rejects(startControlServer(deps(socketPath)), {
    code: 'CONTROL_SOCKET_UNUSABLE',
    message: `cannot listen on ${socketPath}: another agent answers there`,
  })
  await t.rejects(startControlServer(deps(join(folder, 'file'))), {
    message: /a file of that name that is no socket/,
  })
  await t.rejects(startControlServer(deps(join(folder, 'x'.repeat(100)))), { message: /107 bytes at most/ })
  await t.rejects(startControlServer(deps(join(folder, 'file', 'below'))), {
    code: 'CONTROL_SOCKET_UNUSABLE',
  })
  t.match(await fetchStatus(socketPath), { phase: 'running' }, 'the first one still answers')
})

t.test('a client that says nonsense or nothing disturbs nobody and does not delay the end', async (t) => {
  const socketPath = join(shortFolder(t), 'agent.sock')
  const server = await startControlServer(deps(socketPath))
  const silent = connect(socketPath)
  silent.on('error', () => undefined)
  const nonsense = connect(socketPath, () => nonsense.write('\0\0nonsense\r\n\r\n'))
  nonsense.on('error', () => undefined).resume()
  await new Promise((resolve) => nonsense.on('close', resolve))
  t.match(await fetchStatus(socketPath), { phase: 'running' })
  const startedAt = performance.now()
  await server.close()
  t.ok(performance.now() - startedAt < 1_000)
})

t.test('the table tells a person what runs, since when, and what is wrong', async (t) => {
  const now = new Date('2026-01-01T00:03:24.000Z')
  t.equal(
    renderStatus(STATUS, { colour: false, now }),
    [
      'discobot 0.1.0 is running: pid 1, up 1h 2m, 212 orphans reaped, 1 zombies',
      '',
      'SERVICE    STATE        PID  SINCE   RESTARTS  LAST EXIT    WHY',
      'proxy      ready        17   3m 24s  0         -',
      'agent-api  backing-off  -    4s      3         exit code 1  exit code 1; next start in 4000 ms',
      '',
      'degraded  dockerd: not permitted; run with --privileged',
      '',
      '✓ home         +0 ms      12 ms  ██████',
      '! dockerd     +12 ms      12 ms        ██████',
      '    not permitted; run with --privileged',
      '  total                   24 ms',
    ].join('\n'),
  )
  t.match(renderStatus(STATUS, { colour: true, now }), '\u001b[33mbacking-off\u001b[0m')
  t.match(
    renderStatus(
      { ...STATUS, services: [], reaper: { backend: 'none', reason: 'no koffi', reaped: 0, zombies: 9 } },
      { colour: false, now },
    ),
    'cannot reap orphans (no koffi), 9 zombies\n\nno services',
  )
  const engine = describeEngine({ kind: 'rootless', dockerd: '/x', why: 'secrets are in force (KEY)' })
  t.match(
    renderStatus({ ...STATUS, engine }, { colour: false, now }),
    /\n\ndocker {4}rootless, since secrets are in force \(KEY\)\n {10}not stopped: its containers .*\n {10}not stopped: /,
  )
})
