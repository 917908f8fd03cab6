import { join } from 'node:path'
import type { Composed } from '../../../config/compose.js'
import type { Config } from '../../../config/config.js'
import { DiscobotError } from '../../../config/errors.js'
import type { Logger } from '../../../config/logger.js'
import { LOOPBACK } from '../../../config/paths.js'
import { BRIDGE_ADDRESS } from '../../docker/plan.js'
import type { AgentOptions } from '../../options.js'
import { secretVariables, variablesNamedIn } from '../../secret-variables.js'
import type { Account } from '../../services/run-as.js'
import { ensureFile } from '../../system/atomic-file.js'
import type { BootFindings, ProxyEndpoints } from '../findings.js'
import type { BootStep } from '../step.js'

export interface ProxyConfigStepDeps {
  readonly options: AgentOptions
  /** The proxy's account; resolves with undefined for ourselves. */
  readonly owner: () => Promise<Account | undefined>
  /** dockerd will run, and its containers are to reach the proxy by the bridge. */
  readonly bridge: boolean
  readonly logger: Logger
}

/** A file says something that could not be used; a configuration is in force nevertheless. */
export class ProxyConfigError extends DiscobotError {
  readonly code = 'PROXY_CONFIG_PROBLEMS'
}

/** After the workspace, whose own file counts. Writes the file that the proxy is started with. */
export function proxyConfigStep(deps: ProxyConfigStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'proxy-config',
    needs: ['workspace', 'overlay'],
    timeoutMs: 10_000,
    onFailure: 'degrade',
    remedy: 'correct the file',
    run: () => writeProxyConfig(deps, findings),
  }
}

/** @throws ProxyConfigError with the first problem; by then the file is written and `findings.proxy` is set. */
export async function writeProxyConfig(deps: ProxyConfigStepDeps, findings: BootFindings): Promise<string> {
  const { options, logger } = deps
  const [{ composeConfig, WORKSPACE_CONFIG }, { formatProblem }] = await Promise.all([
    import('../../../config/compose.js'),
    import('../../../config/problem.js'),
  ])
  const composed = await composeConfig({
    dataDir: options.data.root,
    ...(options.proxyConfig === undefined ? {} : { operatorFile: options.proxyConfig }),
    workspaceFile: join(options.workspace.path, WORKSPACE_CONFIG),
  })
  const { config, yaml } = deps.bridge ? await withBridge(composed) : composed
  const owner = await deps.owner()
  // Header values in it may be secrets of the operator's.
  const attributes = { mode: 0o600, ...(owner === undefined ? {} : { owner }) }
  await ensureFile(options.data.proxyConfig, yaml, attributes)
  const problems = composed.problems.map(formatProblem)
  for (const problem of problems) logger.warn({ problem }, 'proxy configuration')
  findings.secretVariables = [
    ...secretVariables(config),
    ...(composed.inForce === 'composed'
      ? []
      : await variablesNamedIn(options.proxyConfig, options.inherited)),
  ]
  findings.proxy = endpointsOf(config)
  const [first, ...others] = problems
  if (first === undefined) return FORCE[composed.inForce]
  throw new ProxyConfigError(
    others.length === 0 ? first : `${first} (and ${others.length} more, see the log)`,
  )
}

const FORCE: Readonly<Record<Composed['inForce'], string>> = {
  composed: 'written',
  previous: 'that of the last good start',
  'deny-all': 'nothing may be reached',
}

/** Unless somebody chose the addresses: the bridge's is added, which appears when dockerd makes it. */
async function withBridge(composed: Composed): Promise<{ readonly config: Config; readonly yaml: string }> {
  const { config, sources } = composed
  if (sources['proxy.host']?.some((origin) => origin.layer !== 'default') === true) return composed
  const { readOperatorLine, renderConfig } = await import('../../../config/render.js')
  const widened = { ...config, proxy: { ...config.proxy, host: [...config.proxy.host, BRIDGE_ADDRESS] } }
  const workspaceFile = Object.values(sources)
    .flat()
    .find((origin) => origin.layer === 'workspace')?.file
  const yaml = renderConfig(widened, { operatorFile: readOperatorLine(composed.yaml), workspaceFile })
  return { config: widened, yaml }
}

/** @throws ProxyConfigError when the kernel is to choose a port: nobody could be told which. */
function endpointsOf({ proxy }: Config): ProxyEndpoints {
  if (proxy.port === 0 || proxy.api_port === 0) {
    throw new ProxyConfigError(
      'cannot use port 0 under the agent: every process must be told the port; name one',
    )
  }
  const host = proxy.host.find((address) => address.startsWith('127.') || address === '::1') ?? proxy.host[0]
  return {
    host: host === undefined || host === '0.0.0.0' || host === '::' ? LOOPBACK : host,
    port: proxy.port,
    apiPort: proxy.api_port,
    hosts: proxy.host,
  }
}
