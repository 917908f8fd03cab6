import type { Logger } from '../../../base/log/logger.js'
import type { DataPaths } from '../../../config/model/paths.js'
import type { Account } from '../../process/run-as.js'
import { besides } from '../../system/held-folder.js'
import type { BootStep } from '../../status/step.js'

interface CaStepDeps {
  readonly data: DataPaths
  /** The proxy's account; resolves with undefined for ourselves. */
  readonly owner: () => Promise<Account | undefined>
  readonly logger: Logger
  readonly now: () => number
}

/** Making a key may take seconds on a small machine. */
const TIMEOUT_MS = 60_000

/** The pair exists and belongs to the proxy, so that the trust store can be done beside the clone. */
export function caStep(deps: CaStepDeps): BootStep {
  return {
    name: 'ca',
    needs: ['home'],
    timeoutMs: TIMEOUT_MS,
    onFailure: 'degrade',
    remedy: 'see that the data dir can be written to',
    run: async () => {
      // Brings the certificate code in; on a warm boot nothing of node-forge.
      const { ensureAuthority } = await import('../../../proxy/tls/authority.js')
      const { caCert, caKey } = deps.data
      const owner = await deps.owner()
      // Their folder is the proxy's, which could have put links there. We read, and publish, what they say.
      give([caCert, caKey], owner)
      const { created, reason } = await ensureAuthority({ certPath: caCert, keyPath: caKey, now: deps.now })
      give([caCert, caKey], owner)
      if (!created) return 'reused'
      if (reason !== undefined) deps.logger.info({ reason }, 'made a new CA')
      return `created${reason === undefined ? '' : `: ${reason}`}`
    },
  }
}

/** Those that are there. A folder in place of one is moved aside later. @throws UntrustedPathError for what is no plain file */
function give(paths: readonly string[], owner: Account | undefined): void {
  if (owner === undefined) return
  for (const path of paths) {
    besides(path, (folder, name) => {
      const found = folder.find(name)
      if (found !== undefined && !found.isDirectory()) folder.giveFile(name, owner)
    })
  }
}
