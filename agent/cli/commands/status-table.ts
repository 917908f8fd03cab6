import { table, type Column, type TableLook } from '../../../base/cli/table.js'
import { COLOURS, paint } from '../../../base/cli/terminal.js'
import { behind, wrap } from '../../../base/cli/text-width.js'
import { renderTimeline } from '../../status/timeline.js'
import type { EngineStatus } from '../../docker/engine.js'
import type { StepStatus } from '../../status/step.js'
import type { ServiceState, ServiceStatus } from '../../services/spec.js'
import type { Zombie } from '../../process/zombies.js'
import type { Wall } from '../../wall/wall.js'
import { printable } from '../../status/printable.js'
import type { AgentStatus } from '../../status/status.js'

interface TableOptions {
  /** Only for a terminal. */
  readonly colour: boolean
  /** The width of the terminal in columns; as wide as the text unless given. */
  readonly columns?: number
  readonly now: Date
}

const STATE_COLOURS: Readonly<Record<ServiceState, number>> = {
  stopped: COLOURS.grey,
  starting: COLOURS.cyan,
  ready: COLOURS.green,
  'backing-off': COLOURS.yellow,
  stopping: COLOURS.cyan,
  failed: COLOURS.red,
}

/** The status for a person: the agent, its services, what is degraded, and how the boot went. */
export function renderStatus(status: AgentStatus, options: TableOptions): string {
  const { colour, columns = Infinity, now } = options
  const up = duration(status.uptimeMs)
  const { version, phase, pid } = status
  const sections = [
    wrap(`discobot ${version} is ${phase}: pid ${pid}, up ${up}, ${describeReaper(status)}`, columns).join(
      '\n',
    ),
    renderServices(status.services, now, { colour, columns }),
    status.wall === undefined ? '' : renderWall(status.wall, columns),
    status.engine === undefined ? '' : renderEngine(status.engine, columns),
    status.degraded
      .flatMap((line) => behind('degraded  ', printable(line), columns))
      .map((line) => paint(line, COLOURS.yellow, colour))
      .join('\n'),
    renderZombies(status.zombies ?? [], columns),
    status.boot.length === 0
      ? ''
      : renderTimeline(status.boot, {
          colour,
          totalMs: bootTotalMs(status),
          ...(columns === Infinity ? {} : { columns }),
        }),
  ]
  return sections.filter((section) => section !== '').join('\n\n')
}

const SERVICE_COLUMNS: readonly Column[] = [
  { title: 'SERVICE', narrow: 'cut' },
  { title: 'STATE' },
  { title: 'PID' },
  { title: 'SINCE' },
  { title: 'RESTARTS' },
  { title: 'LAST EXIT', narrow: 'cut' },
  { title: 'WHY', narrow: 'wrap' },
]

function renderServices(services: readonly ServiceStatus[], now: Date, look: TableLook): string {
  if (services.length === 0) return 'no services'
  const rows = services.map((service) => [
    service.name,
    { text: service.state, sgr: STATE_COLOURS[service.state] },
    service.pid === undefined ? '-' : String(service.pid),
    duration(now.getTime() - Date.parse(service.since)),
    String(service.restarts),
    service.lastExit ?? '-',
    printable(service.reason ?? (service.waitsFor === undefined ? '' : `waits for ${service.waitsFor}`)),
  ])
  return table(SERVICE_COLUMNS, rows, look).join('\n')
}

/** The level, and what it does not promise: all else is in SECURITY.md. */
function renderWall({ level, name, promises }: Wall, columns: number): string {
  const broken = promises.filter(({ holds }) => !holds)
  return [
    `wall      level ${level}, ${name}`,
    ...broken.flatMap(({ what, because = '' }) =>
      behind('          not promised: ', `${printable(what)}, since ${printable(because)}`, columns),
    ),
  ].join('\n')
}

/** Which Docker engine, why, and what it leaves open. */
function renderEngine({ kind, why, notStopped }: EngineStatus, columns: number): string {
  return [
    ...behind('docker    ', `${kind}, since ${printable(why)}`, columns),
    ...notStopped.flatMap((line) => behind('          not stopped: ', line, columns)),
  ].join('\n')
}

function renderZombies(zombies: readonly Zombie[], columns: number): string {
  return zombies
    .flatMap(({ pid, name, parent, service }) => {
      const owner = `pid ${parent.pid} (${parent.name})${service === undefined ? '' : ` of ${service}`}`
      return behind(
        'zombie    ',
        printable(`pid ${pid} (${name}), which ${owner} does not wait for`),
        columns,
      )
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
