import type { LogLevel } from '../../base/log/contract.js'
import type { Logger } from '../../base/log/logger.js'

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 }

/**
 * The log where a command has our standard streams: on the error output, of which little is shown, and nothing while the
 * command has a terminal. All of it is kept for `discobot-agent logs`.
 */
export class CommandScreen {
  readonly logger: Logger
  readonly #isTerminal: boolean
  #isTaken = false

  /**
   * @param shown writes what is to be seen.
   * @param kept the least level of the lines that are kept.
   */
  constructor(shown: Logger, kept: LogLevel, isTerminal: boolean) {
    this.#isTerminal = isTerminal
    this.logger = this.#beside(shown, kept)
  }

  /** The command begins. */
  take(): void {
    this.#isTaken = this.#isTerminal
  }

  /** It has ended. */
  giveBack(): void {
    this.#isTaken = false
  }

  #beside(shown: Logger, kept: LogLevel): Logger {
    const at =
      (level: LogLevel): Logger['info'] =>
      (fields, message) => {
        if (!this.#isTaken) shown[level](fields, message)
      }
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => this.#beside(shown.child(fields), kept),
      isLevelEnabled: (level) => RANK[level] >= RANK[kept],
    }
  }
}
