import type { Logger } from '../../../config/logger.js'
import { startControlServer, type ControlServer } from '../../control/server.js'
import type { AgentStatus } from '../../control/status.js'
import type { Account } from '../../services/run-as.js'
import type { BootStep } from '../step.js'

export interface ControlStepDeps {
  readonly socketPath: string
  /** Whose group may connect; resolves with undefined for our own. */
  readonly owner: () => Promise<Account | undefined>
  readonly logger: Logger
  status(): AgentStatus
  /** Whoever started the boot closes the server at its end. */
  onStarted(server: ControlServer): void
}

/** `status` can be asked from here on, while the rest comes up. */
export function controlStep(deps: ControlStepDeps): BootStep {
  return {
    name: 'control',
    needs: ['home'],
    timeoutMs: 5_000,
    onFailure: 'degrade',
    run: async () => {
      const owner = await deps.owner()
      const server = await startControlServer({
        socketPath: deps.socketPath,
        ...(owner === undefined ? {} : { gid: owner.gid }),
        logger: deps.logger,
        status: () => deps.status(),
      })
      deps.onStarted(server)
      return deps.socketPath
    },
  }
}
