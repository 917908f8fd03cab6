import { closeSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { LineOutput } from './line-output.js'
import type { LogFormat, Logger, LogLevel } from './contract.js'
import { standardOutput, type Output } from './standard-output.js'
import { textLogger } from './text-logger.js'

export type { Logger }

export interface LoggerOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Path to append to, created 0640; empty means stdout. */
  readonly file?: string
  /** Instead of stdout, for commands whose output that is. */
  readonly stderr?: boolean
  /** Another program has this output as well. */
  readonly shared?: boolean
  /** Lines of one turn of the event loop are written together; a process that is killed loses these. */
  readonly gathers?: boolean
}

/**
 * Writes without worker threads, at once unless lines are to be gathered: a process 1 that dies must have said why,
 * and a worker would be one more thing to reap.
 *
 * @throws the system's error when `file` cannot be opened.
 */
export function createLogger(options: LoggerOptions): Logger {
  return openLogger(options).logger
}

/** A logger whose file can be given back. */
export interface OpenLogger {
  readonly logger: Logger
  /** Nothing may be written afterwards. */
  close(): void
}

/** As {@link createLogger}. @throws the system's error when `file` cannot be opened. */
export function openLogger(options: LoggerOptions): OpenLogger {
  const file = options.file ?? ''
  const opened =
    file === '' ? standardOutput(options.stderr === true ? 2 : 1, options.shared) : openFile(file)
  const tellLost = (lines: number, reason: string): void =>
    logger.warn({ lines, reason }, 'lines of this log were lost')
  const output = new LineOutput(opened.descriptor, tellLost, options.gathers)
  const logger: Logger =
    options.format === 'json' ? jsonLogger(options.level, output) : textLogger(options.level, output)
  return {
    logger,
    close: () => {
      output.close()
      opened.close()
    },
  }
}

/** Costs 26 ms to bring in: only for who wants JSON. The bundler takes this for its own `require`. */
const require = createRequire(import.meta.url)

function jsonLogger(level: LogLevel, output: LineOutput): Logger {
  const { pino } = require('pino') as typeof import('pino')
  return pino(
    { level, base: null, formatters: { level: (label) => ({ level: label }) } },
    { write: (line: string) => output.write(line) },
  )
}

function openFile(path: string): Output {
  const descriptor = openSync(path, 'a', 0o640)
  return { descriptor, close: () => closeSync(descriptor) }
}

/** A logger that says nothing; for callers that were given none. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
  isLevelEnabled: () => false,
}
