import type { LogEntry } from '../../logs/log-entry.js'
import { readableEntry } from '../../logs/log-entry.js'
import type { ServiceStatus } from '../../services/spec.js'
import type { ServiceVerb } from '../../control/actions.js'
import { askAgent, fetchStatus, readLines } from '../../control/client.js'
import { complaintsOf } from './health.js'
import { printable } from '../../status/printable.js'
import { renderStatus } from './status-table.js'

/** Where a command asks, and where its answer goes. */
export interface CommandDeps {
  readonly socketPath: string
  /** Resolves when the terminal, or whoever reads there, has taken it. */
  readonly print: (text: string) => Promise<void>
  readonly json: boolean
  readonly colour: boolean
  /** The width of the terminal in columns; Infinity where there is none. */
  readonly columns: number
  readonly now: () => Date
  /** Aborts when nobody reads any more. */
  readonly over: AbortSignal
}

/** Prints what the running agent says of itself. 0 when it answers, whatever it says. */
export async function showStatus({
  socketPath,
  print,
  json,
  colour,
  columns,
  now,
}: CommandDeps): Promise<number> {
  const found = await fetchStatus(socketPath)
  const text = json
    ? JSON.stringify(found, undefined, 2)
    : renderStatus(found, { colour, columns, now: now() })
  await print(`${text}\n`)
  return 0
}

/** 0 when the container does its work, 1 when not, for Docker's HEALTHCHECK; a line says why. */
export async function checkHealth({ socketPath, print, json }: CommandDeps): Promise<number> {
  const complaints = complaintsOf(await fetchStatus(socketPath))
  const healthy = complaints.length === 0
  const words = healthy ? 'healthy' : complaints.map(printable).join('; ')
  await print(`${json ? JSON.stringify({ healthy, complaints }) : words}\n`)
  return healthy ? 0 : 1
}

export interface LogOptions {
  readonly service?: string
  readonly lines: number
  readonly follow: boolean
}

/** Prints what services have said, and goes on until it is over where that is asked for. */
export async function showLogs(deps: CommandDeps, { service, lines, follow }: LogOptions): Promise<number> {
  const query = new URLSearchParams({
    lines: String(lines),
    ...(service === undefined ? {} : { service }),
    ...(follow ? { follow: '1' } : {}),
  })
  const question = { path: `/logs?${query.toString()}`, signal: deps.over }
  await readLines(deps.socketPath, question, (line) => deps.print(`${deps.json ? line : readable(line)}\n`))
  return 0
}

/** A line of the answer as a person reads it. */
function readable(line: string): string {
  const said = JSON.parse(line) as (Omit<LogEntry, 'time'> & { time: string }) | { lost: true }
  if ('lost' in said) return '… lines were lost here: they came faster than they were read'
  return readableEntry({ ...said, time: Date.parse(said.time) })
}

/** Resolves when the service is ready, or gone. */
export async function changeService(deps: CommandDeps, verb: ServiceVerb, name: string): Promise<number> {
  const path = `/services/${encodeURIComponent(name)}/${verb}`
  const answer = (await askAgent(deps.socketPath, { method: 'POST', path })) as ServiceStatus
  const { state, pid } = answer
  const words = `${name} is ${state}${pid === undefined ? '' : `, pid ${pid}`}`
  await deps.print(`${deps.json ? JSON.stringify(answer) : words}\n`)
  return 0
}

/** 0 when somebody took the signal. */
export async function sendSignal(deps: CommandDeps, signal: string, service?: string): Promise<number> {
  const body = { signal, ...(service === undefined ? {} : { service }) }
  const { taken } = (await askAgent(deps.socketPath, { method: 'POST', path: '/signal', body })) as {
    taken?: boolean
  }
  if (taken === true) return 0
  await deps.print(`${service ?? 'the agent'} does not run\n`)
  return 1
}

export async function reload(deps: CommandDeps): Promise<number> {
  await askAgent(deps.socketPath, { method: 'POST', path: '/reload' })
  await deps.print('configuration read again\n')
  return 0
}
