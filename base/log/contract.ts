export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type LogFormat = 'text' | 'json'

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
