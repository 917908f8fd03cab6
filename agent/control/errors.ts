import { DiscobotError } from '../../config/errors.js'

/** The control socket cannot be made: something else is there, or the folder is not ours. */
export class ControlSocketError extends DiscobotError {
  readonly code = 'CONTROL_SOCKET_UNUSABLE'

  constructor(socketPath: string, reason: string, options?: ErrorOptions) {
    super(`cannot listen on ${socketPath}: ${reason}`, options)
  }
}

/** No agent answered on the control socket. */
export class AgentUnreachableError extends DiscobotError {
  readonly code = 'AGENT_UNREACHABLE'

  constructor(socketPath: string, reason: string, options?: ErrorOptions) {
    super(`cannot ask the agent at ${socketPath}: ${reason}`, options)
  }
}
