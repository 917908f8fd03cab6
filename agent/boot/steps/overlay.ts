import type { Logger } from '../../../base/log/logger.js'
import type { AgentOptions } from '../../settings/options.js'
import { OverlayError, SessionOverlay } from '../../overlay/session-overlay.js'
import type { BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

interface OverlayStepDeps {
  readonly options: AgentOptions
  readonly logger: Logger
  /** Whoever started the boot releases it at its end. */
  onMount(overlay: SessionOverlay): void
  /** The folder below stays open, and what is in it is not ours alone any more. */
  onUncovered(): Promise<void>
}

/**
 * Lays the session's own layer over home and workspace. After the clone: to change the lower folder of a mounted
 * overlay is undefined.
 */
export function overlayStep(deps: OverlayStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'overlay',
    needs: ['home', 'workspace', 'submodules', 'lfs'],
    timeoutMs: 10_000,
    onFailure: 'degrade',
    remedy: 'without it every session sees the same home; DISCOBOT_OVERLAY=off says that this is wanted',
    run: async (signal) => {
      const plan = findings.home
      const { options, logger } = deps
      const { home, sessionId } = options
      if (plan === undefined) return { notDone: 'none' }
      if (plan.kind === 'plain') {
        if (plan.remedy === undefined) return `none: ${plan.reason}`
        throw new OverlayError(`${plan.reason}; every session sees the same home; ${plan.remedy}`)
      }
      const overlay = new SessionOverlay({
        calls: plan.calls,
        base: plan.base,
        rename: plan.rename,
        home,
        sessionId,
        logger,
      })
      deps.onMount(overlay)
      try {
        return await overlay.mount(signal)
      } catch (error) {
        await deps.onUncovered()
        throw error
      }
    },
  }
}
