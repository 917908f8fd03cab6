import type { EngineStatus } from '../docker/engine.js'
import type { StepStatus } from './step.js'
import type { ReaperStatus } from '../process/reaper.js'
import type { Zombie } from '../process/zombies.js'
import type { ServiceStatus } from '../services/spec.js'
import type { Wall } from '../wall/wall.js'

/** What is in force, as `status` tells it. */
export interface ConfigurationFinding {
  readonly inForce: 'composed' | 'previous' | 'deny-all'
  readonly operatorFile?: string
  /** What is wrong with the files, in one sentence; absent when nothing is. */
  readonly trouble?: string
}

export type AgentPhase = 'booting' | 'running' | 'stopping'

/** What `GET /status` on the control socket answers, and `status --json` prints. */
export interface AgentStatus {
  readonly version: string
  readonly pid: number
  readonly uptimeMs: number
  readonly phase: AgentPhase
  readonly boot: readonly StepStatus[]
  readonly services: readonly ServiceStatus[]
  readonly reaper: ReaperStatus
  /** Dead processes that nobody has waited for yet. */
  readonly zombies?: readonly Zombie[]
  /** Which level of the wall is in force, and what it promises; absent until the boot knows. */
  readonly wall?: Wall
  /** Which Docker engine runs, and why; absent until the boot knows. */
  readonly engine?: EngineStatus
  /** Which configuration of the proxy is in force; absent until the boot knows, and without a proxy. */
  readonly configuration?: ConfigurationFinding & { readonly port?: number; readonly apiPort?: number }
  /** What does not work as it should: why, and what to do about it; one line each. */
  readonly degraded: readonly string[]
  /** For those who know what to look for. */
  readonly extra?: Readonly<Record<string, unknown>>
}
