import type { ServiceState } from './spec.js'

/** What happens to a service. */
export type ServiceEvent =
  /** A process is about to be spawned. */
  | 'start'
  /** The process answers. */
  | 'ready'
  /** The process ended, and another one is to follow. */
  | 'retry'
  /** The process ended, and that was right. */
  | 'finish'
  /** The process ended, and no other one is to follow. */
  | 'give-up'
  /** Somebody wants it stopped. */
  | 'stop'
  /** Nothing of it runs any more. */
  | 'gone'

/**
 * The state after `event`. The only place that knows which step may follow which.
 *
 * @throws Error when `event` cannot happen in `state`: a mistake in the caller, never in the input.
 */
export function transition(state: ServiceState, event: ServiceEvent): ServiceState {
  switch (state) {
    case 'stopped':
    case 'failed':
      if (event === 'start') return 'starting'
      break
    case 'starting':
      if (event === 'ready') return 'ready'
      return afterRunning(state, event)
    case 'ready':
      return afterRunning(state, event)
    case 'backing-off':
      if (event === 'start') return 'starting'
      if (event === 'stop') return 'stopping'
      break
    case 'stopping':
      if (event === 'gone') return 'stopped'
      break
  }
  throw impossible(state, event)
}

function afterRunning(state: ServiceState, event: ServiceEvent): ServiceState {
  switch (event) {
    case 'retry':
      return 'backing-off'
    case 'finish':
      return 'stopped'
    case 'give-up':
      return 'failed'
    case 'stop':
      return 'stopping'
    case 'start':
    case 'ready':
    case 'gone':
      throw impossible(state, event)
  }
}

function impossible(state: ServiceState, event: ServiceEvent): Error {
  return new Error(`a service that is ${state} cannot ${event}`)
}
