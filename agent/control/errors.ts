import { DiscobotError } from '../../base/errors.js'

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

/** Whoever asks may not change anything. */
export class ControlRefusedError extends DiscobotError {
  readonly code = 'CONTROL_REFUSED'

  constructor(reason: string, options?: ErrorOptions) {
    super(`cannot change anything for you: ${reason}`, options)
  }
}

/** The agent cannot make sense of a request. */
export class ControlRequestError extends DiscobotError {
  readonly code = 'CONTROL_REQUEST_INVALID'

  constructor(
    readonly status: number,
    reason: string,
  ) {
    super(`cannot answer: ${reason}`)
  }
}

/** The agent answered, and the answer is no. */
export class ControlFailedError extends DiscobotError {
  readonly code = 'CONTROL_FAILED'

  constructor(
    message: string,
    /** Of HTTP. */
    readonly status: number,
    /** The agent's own, where it gave one. */
    readonly problem: string | undefined,
  ) {
    super(message)
  }
}
