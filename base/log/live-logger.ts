import { openLogger, type Logger, type LoggerOptions, type OpenLogger } from './logger.js'

/** A logger of many lines, whose level, form and file may change while everybody goes on using it. */
export interface LiveLogger {
  readonly logger: Logger
  /**
   * Opens what `options` name, anew even if they are the same: a log that was moved away is begun again. Nothing
   * changes until the result is called.
   *
   * @throws the system's error when the file cannot be opened.
   */
  prepare(options: LoggerOptions): PreparedLogger
}

interface PreparedLogger {
  commit(): void
  discard(): void
}

/** @throws the system's error when the file cannot be opened. */
export function createLiveLogger(options: LoggerOptions): LiveLogger {
  const open = (asked: LoggerOptions): OpenLogger => openLogger({ ...asked, gathers: true })
  let current = open(options)
  return {
    logger: following(() => current.logger),
    prepare: (next) => {
      const opened = open(next)
      return {
        commit: () => {
          const former = current
          current = opened
          former.close()
        },
        discard: opened.close,
      }
    },
  }
}

function following(current: () => Logger): Logger {
  return {
    debug: (fields, message) => current().debug(fields, message),
    info: (fields, message) => current().info(fields, message),
    warn: (fields, message) => current().warn(fields, message),
    error: (fields, message) => current().error(fields, message),
    isLevelEnabled: (level) => current().isLevelEnabled(level),
    child: (fields) => {
      let parent = current()
      let child = parent.child(fields)
      return following(() => {
        if (parent !== current()) {
          parent = current()
          child = parent.child(fields)
        }
        return child
      })
    },
  }
}
