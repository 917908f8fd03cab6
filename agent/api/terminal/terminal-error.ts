import { DiscobotError } from '../../../base/errors.js'

/** There is no terminal to be had on this machine. */
export class TerminalError extends DiscobotError {
  readonly code = 'API_TERMINAL_UNAVAILABLE'
}
