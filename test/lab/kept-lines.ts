import type { Logger } from '../../base/log/logger.js'

/** A line of a log, as a test looks at it. */
export interface Line {
  readonly level: string
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface KeptLines {
  readonly logger: Logger
  readonly lines: readonly Line[]
  /** The faults among them. */
  faults(): readonly Line[]
}

/** A logger whose lines are kept. @param plant is called before each, and may throw in its place. */
export function keepLines(plant: (line: Line) => unknown = () => undefined): KeptLines {
  const lines: Line[] = []
  const at =
    (level: string): Logger['info'] =>
    (fields, message) => {
      const line = { level, message, fields: { ...fields } }
      plant(line)
      lines.push(line)
    }
  const logger: Logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => logger,
    isLevelEnabled: () => true,
  }
  return { logger, lines, faults: () => lines.filter(({ message }) => message === 'a fault of ours') }
}
