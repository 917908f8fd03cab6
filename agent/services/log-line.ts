import type { LogLevel } from '../../config/config.js'
import type { Logger } from '../../config/logger.js'
import { READABLE_PREFIX } from '../../config/readable-line.js'

const LEVELS: Readonly<Record<string, LogLevel>> = {
  DEBUG: 'debug',
  INFO: 'info',
  WARN: 'warn',
  ERROR: 'error',
}

const ORDER: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

/** Logs what a service printed. A line of our own programs keeps its level, and its moment is not said twice. Below `lowest` it is left out. */
export function logLine(logger: Logger, line: string, lowest: LogLevel = 'debug'): void {
  const ours = READABLE_PREFIX.exec(line)
  const text = ours === null ? line : line.slice(ours[0].length)
  const level = LEVELS[ours?.[1] ?? ''] ?? 'info'
  if (ORDER.indexOf(level) < ORDER.indexOf(lowest)) return
  // Who asked a service for its debug lines wants to see them, also where the agent's own are off.
  logger[logger.isLevelEnabled(level) ? level : 'info']({}, text)
}
