import t, { type Test } from 'tap'
import { textWidth } from '../../../base/cli/text-width.js'
import { renderTimeline } from '../../status/timeline.js'
import { renderStatus } from '../commands/status-table.js'
import type { AgentStatus } from '../../status/status.js'
import { renderFindings } from '../doctor/command.js'

// What the agent shows fits terminals of every width, says all of it, and has the same text with colours and without.

const REASON =
  'exit code 1 after it could not bind 127.0.0.1:5432, which another process has; next start in 4000 ms'
const NOW = new Date('2026-01-01T00:03:24.000Z')
const STATUS: AgentStatus = {
  version: '0.1.0',
  pid: 1,
  uptimeMs: 3_725_000,
  phase: 'running',
  boot: [
    { name: 'home', state: 'done', startedMs: 0, tookMs: 12 },
    { name: 'dockerd', state: 'degraded', startedMs: 12, tookMs: 12, note: REASON },
  ],
  services: [
    { name: 'proxy', state: 'ready', pid: 17, since: '2026-01-01T00:00:00.000Z', restarts: 0 },
    {
      name: 'postgres-of-the-workspace',
      state: 'backing-off',
      since: '2026-01-01T00:03:20.000Z',
      restarts: 3,
      lastExit: 'exit code 1',
      reason: REASON,
    },
  ],
  reaper: { backend: 'koffi', reaped: 212, zombies: 1 },
  zombies: [{ pid: 9, name: 'sh', parent: { pid: 8, name: 'node' }, service: 'postgres-of-the-workspace' }],
  degraded: [`dockerd: ${REASON}`],
} as unknown as AgentStatus

const squeezed = (text: string): string => text.replace(/\s+/g, ' ')
const uncoloured = (text: string): string => text.replace(/\u001b\[\d+m/g, '')

function fits(t: Test, shown: string, columns: number): void {
  const wide = shown.split('\n').filter((line) => textWidth(line) > columns)
  t.strictSame(wide, [], `at ${columns} columns`)
}

void t.test('status', (t) => {
  for (const columns of [60, 80, 160]) {
    const plain = renderStatus(STATUS, { colour: false, columns, now: NOW })
    fits(t, plain, columns)
    for (const line of [
      `degraded ${STATUS.degraded[0] ?? ''}`,
      'which pid 8 (node) of postgres-of-the-workspace',
    ])
      t.ok(squeezed(plain).includes(line), `${columns}: ${line}`)
    t.equal(uncoloured(renderStatus(STATUS, { colour: true, columns, now: NOW })), plain)
  }
  const piped = renderStatus(STATUS, { colour: false, columns: Infinity, now: NOW })
  t.match(
    piped,
    new RegExp(
      `^postgres-of-the-workspace  backing-off .* exit code 1  ${REASON.replace(/[.]/g, '\\.')}$`,
      'm',
    ),
  )
  t.end()
})

void t.test('timeline', (t) => {
  for (const columns of [60, 80, 160]) {
    const shown = renderTimeline(STATUS.boot, { colour: false, totalMs: 24, columns })
    fits(t, shown, columns)
    t.ok(squeezed(shown).includes(REASON))
  }
  t.end()
})

void t.test('doctor', (t) => {
  const findings = [
    { check: 'agent', state: 'ok', what: '0.1.0 is running, pid 1' },
    {
      check: 'services',
      state: 'problem',
      what: `web is failed: ${REASON}`,
      remedy: 'see discobot-agent logs web, then discobot-agent restart web',
    },
  ] as const
  for (const columns of [60, 80, 160, Infinity]) {
    const plain = renderFindings(findings, { colour: false, columns })
    fits(t, plain, columns)
    t.ok(squeezed(plain).includes(REASON))
    t.match(plain, /^✗ services {2}web is failed/m)
    t.match(plain, /^ {12}→ see discobot-agent logs web/m)
    t.equal(uncoloured(renderFindings(findings, { colour: true, columns })), plain)
  }
  t.end()
})
