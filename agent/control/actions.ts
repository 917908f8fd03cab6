import type { ServiceStatus } from '../services/spec.js'
import type { LogStore } from '../logs/log-store.js'
import type { AgentStatus } from '../status/status.js'

/** What can be asked of the agent and done with it, by whatever way it is asked. */
export interface AgentActions {
  readonly logs: LogStore
  status(): AgentStatus
  /** Whether the service guards the workspace's account, which therefore may not change it. */
  guards(service: string): boolean
  /** Rejects with the supervisor's own errors; `signal` ends the waiting, not the service. */
  change(service: string, verb: ServiceVerb, signal: AbortSignal): Promise<ServiceStatus>
  /**
   * To the service's own process, or without one to the agent, as if it had been sent to process 1.
   *
   * @returns whether there was anybody to take it. @throws UnknownServiceError
   */
  signal(signal: NodeJS.Signals, service?: string): boolean
  /** Reads the configuration again; rejects with what is wrong with it. */
  reload(): Promise<void>
}

export const SERVICE_VERBS = ['start', 'stop', 'restart'] as const
export type ServiceVerb = (typeof SERVICE_VERBS)[number]
