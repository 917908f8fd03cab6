import type { LogLevel } from '../../base/log/contract.js'
import type { Logger } from '../../base/log/logger.js'
import { READABLE_PREFIX } from '../../base/log/readable-line.js'

/** By the names that programs give them, in lower case; klog has letters, pino and bunyan numbers. */
const LEVELS: Readonly<Record<string, LogLevel>> = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  notice: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  err: 'error',
  fatal: 'error',
  panic: 'error',
  critical: 'error',
  i: 'info',
  w: 'warn',
  e: 'error',
  f: 'error',
  '10': 'debug',
  '20': 'debug',
  '30': 'info',
  '40': 'warn',
  '50': 'error',
  '60': 'error',
}

/** A level stands near the beginning of a line, or it is part of what the line tells. */
const LOOKED_AT = 256
/** How programs write it: logrus and slog (dockerd, containerd, BuildKit), JSON, klog. */
const FOREIGN_LEVELS: readonly RegExp[] = [
  /^(?:time|ts)=(?:"[^"]*"|\S+) (?:level|lvl)="?([A-Za-z]+)/,
  /^\{.*?"level" ?: ?"?([A-Za-z]+|\d0)\b/,
  /^([IWEF])\d{4} \d\d:\d\d:\d\d/,
]

const ORDER: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

/** Logs what a service printed. A line that says its level keeps it, and of our own programs the moment is not said twice. Below `lowest` it is left out. */
export function logLine(logger: Logger, line: string, lowest: LogLevel = 'debug'): void {
  const ours = READABLE_PREFIX.exec(line)
  const text = ours === null ? line : line.slice(ours[0].length)
  const level = LEVELS[(ours?.[1] ?? foreignLevel(line) ?? '').toLowerCase()] ?? 'info'
  if (ORDER.indexOf(level) < ORDER.indexOf(lowest)) return
  // Who asked a service for its debug lines wants to see them, also where the agent's own are off.
  logger[logger.isLevelEnabled(level) ? level : 'info']({}, text)
}

function foreignLevel(line: string): string | undefined {
  const begin = line.slice(0, LOOKED_AT)
  for (const pattern of FOREIGN_LEVELS) {
    const found = pattern.exec(begin)?.[1]
    if (found !== undefined) return found
  }
  return undefined
}
