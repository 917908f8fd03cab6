import { DiscobotError, reasonOf } from '../../../config/errors.js'
import type { Logger } from '../../../config/logger.js'
import { LOOPBACK, type DataPaths } from '../../../config/paths.js'
import { READY_FD_VARIABLE } from '../../../config/ready-signal.js'
import { baseEnvironment, type Account, type Environment } from '../../environment.js'
import { onlySecrets } from '../../secret-variables.js'
import type { Supervisor } from '../../services/supervisor.js'
import type { BootFindings } from '../findings.js'
import type { BootStep } from '../step.js'

export interface ProxyStepDeps {
  readonly command: readonly [string, ...string[]]
  readonly data: DataPaths
  /** Account to change to; absent means ours. */
  readonly user?: string
  readonly account: Account
  readonly inherited: Environment
  /** Secrets of our environment; the proxy gets those that its configuration names. */
  readonly secrets: Environment
  readonly stopGraceMs: number
  readonly supervisor: Supervisor
  readonly logger: Logger
}

/** The container comes up without the proxy: nothing is cached, filtered or injected. */
export class ProxyMissingError extends DiscobotError {
  readonly code = 'PROXY_UNAVAILABLE'
}

/** The seed's figure; without an answer by then the boot goes on without the proxy. */
const READY_TIMEOUT_MS = 10_000
/** The first that is free in a service. */
const READY_FD = 3

/**
 * Starts the proxy and, once it answers, lets the later steps send everybody through it. One that does not
 * answer is stopped for good: variables that point at a dead port would cut the container off.
 */
export function proxyStep(deps: ProxyStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'proxy',
    // Not the trust store: it takes longer, and only the proxy's clients need it.
    needs: ['proxy-config', 'ca'],
    timeoutMs: READY_TIMEOUT_MS + deps.stopGraceMs + 5_000,
    onFailure: 'degrade',
    remedy: 'see the log of the service proxy',
    run: async (signal) => {
      try {
        return await startProxy(deps, findings, signal)
      } catch (error) {
        deps.logger.error(
          { reason: reasonOf(error) },
          'going on WITHOUT the proxy: nothing is cached, filtered or injected',
        )
        throw error
      }
    },
  }
}

async function startProxy(deps: ProxyStepDeps, findings: BootFindings, signal: AbortSignal): Promise<string> {
  const { supervisor } = deps
  const { proxy } = findings
  if (proxy === undefined)
    throw new ProxyMissingError('cannot start the proxy: there is no configuration for it')
  supervisor.add({
    name: 'proxy',
    command: [...deps.command, '-config', deps.data.proxyConfig],
    env: {
      ...onlySecrets({ ...deps.inherited, ...deps.secrets }, findings.secretVariables ?? []),
      ...baseEnvironment(deps.account, deps.inherited),
      DISCOBOT_DATA_DIR: deps.data.root,
      [READY_FD_VARIABLE]: String(READY_FD),
    },
    cwd: deps.data.proxyDir,
    ...(deps.user === undefined ? {} : { user: deps.user }),
    after: [],
    readiness: { kind: 'http', url: `http://${LOOPBACK}:${proxy.apiPort}/health`, readyFd: READY_FD },
    readyTimeoutMs: READY_TIMEOUT_MS,
    restart: 'always',
    essential: false,
    stopGraceMs: deps.stopGraceMs,
  })
  try {
    await supervisor.start('proxy', signal)
  } catch (error) {
    await supervisor.stop('proxy')
    throw new ProxyMissingError(reasonOf(error) + remedyFor(reasonOf(error)), { cause: error })
  }
  findings.proxyAnswers = true
  return `port ${proxy.port}, API ${proxy.apiPort}`
}

function remedyFor(reason: string): string {
  if (!/already listens|another process has it/.test(reason)) return ''
  return '; name other ports as proxy.port and proxy.api_port in the file of DISCOBOT_PROXY_CONFIG'
}
