import { join } from 'node:path'
import type { Composed } from '../../../config/compose.js'
import type { Config } from '../../../config/config.js'
import { DiscobotError } from '../../../config/errors.js'
import type { Logger } from '../../../config/logger.js'
import { LOOPBACK, type DataPaths } from '../../../config/paths.js'
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
  const wanted = deps.bridge ? await withBridge(composed) : composed
  const { config } = wanted
  const owner = await deps.owner()
  await ensureConfig(options.data, wanted, owner)
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

/** Renders it when it is not what the file there was made of: {@link ParsedConfig}. */
async function ensureConfig(
  { proxyConfig, parsedConfig }: DataPaths,
  wanted: Pick<Composed, 'config' | 'parts' | 'yaml'>,
  owner: Account | undefined,
): Promise<void> {
  const { describeConfig, digestOfParts, knownOf, readParsedConfig } =
    await import('../../../config/parsed-config.js')
  const madeOf = digestOfParts(wanted.config, wanted.parts)
  const description = await readParsedConfig(parsedConfig)
  const present = await readParsedConfig(proxyConfig)
  const isKnown = knownOf(present, description)?.madeOf === madeOf
  const text = isKnown && present !== undefined ? present : wanted.yaml
  // Header values in it may be secrets of the operator's. Looked at again: owner and mode must be right as well.
  await ensureFile(proxyConfig, text, { mode: 0o600, ...(owner === undefined ? {} : { owner }) })
  const known = isKnown ? description : describeConfig(text, madeOf)
  if (known === undefined) return
  // Ours, and for the proxy to read only: what we believe of its configuration must not be its own word.
  const readers =
    owner === undefined ? { mode: 0o600 } : { mode: 0o640, owner: { uid: OWN_UID, gid: owner.gid } }
  // Without it the next start takes longer, and that is all.
  await ensureFile(parsedConfig, known, readers).catch(() => undefined)
}

/** Of process 1. */
const OWN_UID = 0

const FORCE: Readonly<Record<Composed['inForce'], string>> = {
  composed: 'written',
  previous: 'that of the last good start',
  'deny-all': 'nothing may be reached',
}

/** Unless somebody chose the addresses: the bridge's is added, which appears when dockerd makes it. */
async function withBridge(composed: Composed): Promise<Pick<Composed, 'config' | 'parts' | 'yaml'>> {
  const { config, sources, parts } = composed
  if (sources['proxy.host']?.some((origin) => origin.layer !== 'default') === true) return composed
  const { renderConfig } = await import('../../../config/render.js')
  const widened = { ...config, proxy: { ...config.proxy, host: [...config.proxy.host, BRIDGE_ADDRESS] } }
  return {
    config: widened,
    parts,
    get yaml() {
      return renderConfig(widened, parts)
    },
  }
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
