import { createHash } from 'node:crypto'
import type { BootFindings } from './findings.js'
import type { Logger } from '../../../base/log/logger.js'
import type { Supervisor } from '../../services/supervisor.js'
import { readIfPresent } from '../../system/atomic-file.js'

/** Of the certificates that dockerd would trust if it started now. */
export async function digestOfTrust({ trust }: Pick<BootFindings, 'trust'>): Promise<string> {
  const bundle = trust === undefined ? undefined : await readIfPresent(trust.bundleFile)
  return createHash('sha256')
    .update(bundle ?? '')
    .digest('hex')
}

/** Go reads the certificates once, so dockerd is started anew when they are no longer those of its start. */
export async function restartWhenTrustChanged(
  findings: BootFindings,
  supervisor: Supervisor,
  logger: Logger,
): Promise<void> {
  if (findings.dockerdTrusts === undefined) return
  const now = await digestOfTrust(findings)
  if (now === findings.dockerdTrusts) return
  findings.dockerdTrusts = now
  logger.info({}, 'the trusted certificates have changed: dockerd is started anew')
  await supervisor.restart('dockerd')
}
