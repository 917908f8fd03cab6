import type { LogLevel } from '../../base/log/contract.js'
import type { Logger } from '../../base/log/logger.js'
import { readableFields } from '../../base/log/readable-line.js'
import type { Clock } from '../process/clock.js'
import { AGENT, type LogEntry } from './log-entry.js'
import type { LogStore } from './log-store.js'

/**
 * A logger that keeps every line in `store` as well: under the name of the service for lines that carry the
 * fields `service` and `stream`, which are what a service printed, and under the agent's for all others.
 */
export function keptLogger(logger: Logger, store: LogStore, clock: Clock): Logger {
  return keeping(logger, store, clock, {})
}

function keeping(logger: Logger, store: LogStore, clock: Clock, bound: Fields): Logger {
  const at = (level: LogLevel) => (fields: object, message: string) => {
    if (logger.isLevelEnabled(level))
      store.add({ time: clock.date().getTime(), level, ...lineOf({ ...bound, ...fields }, message) })
    logger[level](fields, message)
  }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    isLevelEnabled: (level) => logger.isLevelEnabled(level),
    child: (fields) => keeping(logger.child(fields), store, clock, { ...bound, ...fields }),
  }
}

type Fields = Readonly<Record<string, unknown>>

function lineOf(fields: Fields, message: string): Pick<LogEntry, 'service' | 'stream' | 'text'> {
  const { service, stream, ...rest } = fields
  if (typeof service === 'string' && (stream === 'stdout' || stream === 'stderr'))
    return { service, stream, text: withFields(message, rest) }
  return { service: AGENT, stream: 'agent', text: withFields(message, fields) }
}

function withFields(message: string, fields: Fields): string {
  const pairs = readableFields(fields)
  return pairs === '' ? message : `${message} ${pairs}`
}
