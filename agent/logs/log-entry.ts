import type { LogLevel } from '../../base/log/contract.js'
import { escapeControls } from '../../base/log/readable-line.js'

/** One line that a service or the agent itself said. */
export interface LogEntry {
  /** Grows by one with each line of this agent's life; the first is 1. */
  readonly seq: number
  /** Milliseconds since 1970. */
  readonly time: number
  /** {@link AGENT} for our own lines. */
  readonly service: string
  readonly stream: 'stdout' | 'stderr' | 'agent'
  readonly level: LogLevel
  readonly text: string
}

export type NewLogEntry = Omit<LogEntry, 'seq'>

/** The name under which the agent's own lines are kept; no service may have it. */
export const AGENT = 'agent'

/**
 * `2026-11-21T02:41:03.123Z INFO  proxy stderr the line`, without a newline and without what would move a
 * terminal's cursor.
 */
export function readableEntry({ time, level, service, stream, text }: LogEntry): string {
  const from = stream === 'agent' ? service : `${service} ${stream}`
  return `${new Date(time).toISOString()} ${level.toUpperCase().padEnd(5)} ${from} ${escapeControls(text)}`
}

/** The same as one JSON object, with the time as ISO 8601. */
export function jsonEntry({ time, ...rest }: LogEntry): string {
  return JSON.stringify({ time: new Date(time).toISOString(), ...rest })
}
