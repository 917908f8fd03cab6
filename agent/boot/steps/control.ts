import { setImmediate } from 'node:timers/promises'
import type { Logger } from '../../../base/log/logger.js'
import type { AgentActions } from '../../control/actions.js'
import { startControlServer, type ControlServer } from '../../control/server.js'
import type { Account } from '../../process/run-as.js'
import type { BootStep } from '../../status/step.js'

interface ControlStepDeps {
  readonly socketPath: string
  /** Whose group may connect; resolves with undefined for our own. */
  readonly owner: () => Promise<Account | undefined>
  readonly logger: Logger
  readonly actions: AgentActions
  /** Lets the agent API change services. */
  readonly token: string
  readonly ownUid: number
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
    remedy:
      'see that its folder can be written to; until then nobody can ask for the status or restart a service',
    run: async () => {
      // Bringing in HTTP takes some milliseconds: what the proxy waits for goes first.
      await setImmediate()
      const owner = await deps.owner()
      const server = await startControlServer({
        socketPath: deps.socketPath,
        ...(owner === undefined ? {} : { gid: owner.gid }),
        logger: deps.logger,
        actions: deps.actions,
        token: deps.token,
        ownUid: deps.ownUid,
      })
      deps.onStarted(server)
      return deps.socketPath
    },
  }
}
