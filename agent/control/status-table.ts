import { renderTimeline } from '../boot/timeline.js'
import type { EngineStatus } from '../docker/engine.js'
import type { StepStatus } from '../boot/step.js'
import type { ServiceState, ServiceStatus } from '../services/spec.js'
import type { Zombie } from '../services/zombies.js'
import type { Wall } from '../wall/wall.js'
import { printable } from './printable.js'
import type { AgentStatus } from './status.js'

export interface TableOptions {
  /** Only for a terminal. */
  readonly colour: boolean
  readonly now: Date
}

/** SGR parameters, ECMA-48 8.3.117. */
const STATE_COLOURS: Readonly<Record<ServiceState, number>> = {
  stopped: 90,
  starting: 36,
  ready: 32,
  'backing-off': 33,
  stopping: 36,
  failed: 31,
}
const YELLOW = 33

/** The status for a person: the agent, its services, what is degraded, and how the boot went. */
export function renderStatus(status: AgentStatus, { colour, now }: TableOptions): string {
  const paint = (text: string, sgr: number): string => (colour ? `\u001b[${sgr}m${text}\u001b[0m` : text)
  const up = duration(status.uptimeMs)
  const sections = [
    `discobot ${status.version} is ${status.phase}: pid ${status.pid}, up ${up}, ${describeReaper(status)}`,
    renderServices(status.services, now, paint),
    status.wall === undefined ? '' : renderWall(status.wall),
    status.engine === undefined ? '' : renderEngine(status.engine),
    status.degraded.map((line) => paint(`degraded  ${printable(line)}`, YELLOW)).join('\n'),
    renderZombies(status.zombies ?? []),
    status.boot.length === 0 ? '' : renderTimeline(status.boot, { colour, totalMs: bootTotalMs(status) }),
  ]
  return sections.filter((section) => section !== '').join('\n\n')
}

function renderServices(
  services: readonly ServiceStatus[],
  now: Date,
  paint: (text: string, sgr: number) => string,
): string {
  if (services.length === 0) return 'no services'
  const header = ['SERVICE', 'STATE', 'PID', 'SINCE', 'RESTARTS', 'LAST EXIT', 'WHY']
  const rows = services.map((service) => [
    service.name,
    service.state,
    service.pid === undefined ? '-' : String(service.pid),
    duration(now.getTime() - Date.parse(service.since)),
    String(service.restarts),
    service.lastExit ?? '-',
    printable(service.reason ?? (service.waitsFor === undefined ? '' : `waits for ${service.waitsFor}`)),
  ])
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  )
  const line = (cells: readonly string[], state?: ServiceState): string =>
    cells
      .map((cell, column) => {
        const padded = cell.padEnd(widths[column] ?? 0)
        return column === 1 && state !== undefined ? paint(padded, STATE_COLOURS[state]) : padded
      })
      .join('  ')
      .trimEnd()
  return [line(header), ...rows.map((row, index) => line(row, services[index]?.state))].join('\n')
}

/** The level, and what it does not promise: all else is in SECURITY.md. */
function renderWall({ level, name, promises }: Wall): string {
  const broken = promises.filter(({ holds }) => !holds)
  const lines = broken.map(
    ({ what, because = '' }) => `          not promised: ${printable(what)}, since ${printable(because)}`,
  )
  return [`wall      level ${level}, ${name}`, ...lines].join('\n')
}

/** Which Docker engine, why, and what it leaves open. */
function renderEngine({ kind, why, notStopped }: EngineStatus): string {
  const lines = notStopped.map((line) => `          not stopped: ${line}`)
  return [`docker    ${kind}, since ${printable(why)}`, ...lines].join('\n')
}

function renderZombies(zombies: readonly Zombie[]): string {
  return zombies
    .map(({ pid, name, parent, service }) => {
      const owner = `pid ${parent.pid} (${parent.name})${service === undefined ? '' : ` of ${service}`}`
      return printable(`zombie    pid ${pid} (${name}), which ${owner} does not wait for`)
    })
    .join('\n')
}

function describeReaper({ reaper }: AgentStatus): string {
  const { backend, reaped, zombies, reason } = reaper
  if (backend === 'none') return `cannot reap orphans (${reason ?? 'no native call'}), ${zombies} zombies`
  return zombies === 0 ? `${reaped} orphans reaped` : `${reaped} orphans reaped, ${zombies} zombies`
}

/** To the end of the last step, or to now while one still runs. */
function bootTotalMs({ boot, uptimeMs }: AgentStatus): number {
  if (boot.some((step) => step.state === 'running' || step.state === 'waiting')) return uptimeMs
  return Math.max(0, ...boot.map(endedMs))
}

function endedMs({ startedMs = 0, tookMs = 0 }: StepStatus): number {
  return startedMs + tookMs
}

/** Two units are enough to know where one stands: `4s`, `3m 20s`, `2h 5m`, `9d 3h`. */
function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000))
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  const days = Math.floor(hours / 24)
  if (days > 0) return `${days}d ${hours % 24}h`
  if (hours > 0) return `${hours}h ${minutes % 60}m`
  if (minutes > 0) return `${minutes}m ${seconds % 60}s`
  return `${seconds}s`
}
