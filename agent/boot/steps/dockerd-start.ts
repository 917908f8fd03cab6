import type { Logger } from '../../../config/logger.js'
import type { Choice } from '../../docker/choice.js'
import { baseEnvironment, type Environment } from '../../environment.js'
import type { AgentOptions } from '../../options.js'
import type { Supervisor } from '../../services/supervisor.js'
import type { RunCommand } from '../../system/command.js'

export interface DockerdStepDeps {
  readonly options: AgentOptions
  readonly stopGraceMs: number
  readonly supervisor: Supervisor
  readonly run: RunCommand
  readonly logger: Logger
}

/** What an engine is started with, and what became of it. */
export interface StartedEngine {
  /** Where it is to be found. */
  readonly socket: string
  readonly choices: readonly Choice[]
}

/** A data root with many containers is loaded before the first answer. */
export const READY_TIMEOUT_MS = 60_000
export const ROOT = { name: 'root', home: '/root' }

export function searchPath({ inherited }: AgentOptions): string {
  const base: Environment = baseEnvironment(ROOT, inherited)
  return base['PATH'] ?? ''
}
