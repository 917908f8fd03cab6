import { closeSync, openSync, writeSync } from 'node:fs'
import pino from 'pino'
import type { LogFormat, LogLevel } from './config.js'
import { codeOf } from './errors.js'

/** What the rest of the code may ask of a log. Fields come first, as in pino. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  /** A logger that adds `fields` to every line. */
  child(fields: object): Logger
  /** Whether a line of this level would be written: lets a hot path skip building its fields. */
  isLevelEnabled(level: LogLevel): boolean
}

export interface LoggerOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Path to append to, created 0640; empty means stdout. */
  readonly file?: string
}

/**
 * Writes synchronously and without worker threads: a process 1 that dies must have said why, and a worker
 * would be one more thing to reap.
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
  const descriptor = file === '' ? process.stdout.fd : openSync(file, 'a', 0o640)
  const write = (line: string): void => writeFully(descriptor, line)
  const logger = pino(
    { level: options.level, base: null, formatters: { level: (label) => ({ level: label }) } },
    options.format === 'json' ? { write } : { write: (line: string) => write(readableLine(line)) },
  )
  return { logger, close: () => (file === '' ? undefined : closeSync(descriptor)) }
}

/** A logger that says nothing; for callers that were given none. */
export const silentLogger: Logger = pino({ level: 'silent' })

/**
 * A pipe or terminal whose reader stalls answers EAGAIN. Losing the line is right then: neither the init
 * nor the data path may wait for whoever reads the log.
 */
function writeFully(descriptor: number, line: string): void {
  let rest = Buffer.from(line)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest))
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EAGAIN' || code === 'EPIPE' || code === 'ENOSPC' || code === 'EIO') return
      throw error
    }
  }
}

const PADDED_LEVEL: Readonly<Record<string, string>> = {
  debug: 'DEBUG',
  info: 'INFO ',
  warn: 'WARN ',
  error: 'ERROR',
}

/** What {@link readableLine} puts in front: the moment and the level. */
export const READABLE_PREFIX = /^\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARN|ERROR) +/

/** `2026-11-21T02:41:03.123Z INFO  request    method=GET host=example.com` */
function readableLine(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Record<string, unknown>
  const stamp = new Date(Number(time)).toISOString()
  const name = PADDED_LEVEL[String(level)] ?? String(level).toUpperCase()
  return `${[stamp, name, printable(String(msg)).padEnd(10), readableFields(fields)].join(' ').trimEnd()}\n`
}

/** `method=GET host=example.com`; empty when there are none. */
export function readableFields(fields: object): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key}=${readableValue(value)}`)
    .join(' ')
}

/** A service's line becomes a message; it may hold what would move a terminal's cursor. */
function printable(text: string): string {
  return text.replace(/[\x00-\x08\x0a-\x1f\x7f-\x9f]/g, (char) => JSON.stringify(char).slice(1, -1))
}

/** Quoted when it holds anything that could end the field or the line: log lines are fed by the network. */
function readableValue(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined')
  return /^[\x21\x23-\x3c\x3e-\x7e]+$/.test(text) ? text : JSON.stringify(text)
}
