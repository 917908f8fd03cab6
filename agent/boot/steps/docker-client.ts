import { join } from 'node:path'
import { ENGINE_PROXY_ADDRESS } from '../../../config/model/paths.js'
import { configureDockerClient } from '../../docker/client-config.js'
import { BRIDGE_ADDRESS } from '../../docker/plan.js'
import type { AgentOptions } from '../../settings/options.js'
import type { Account } from '../../process/run-as.js'
import { proxyAccess, type BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

interface DockerClientStepDeps {
  readonly options: AgentOptions
  /** Whose docker client it is; resolves with undefined for ourselves. */
  readonly owner: () => Promise<Account | undefined>
}

/**
 * Tells containers and builds of the proxy, by the bridge's address: `localhost` is the container itself there. Only
 * where it was asked for, since images that do not trust our CA would fail every https request; where it was not,
 * what an earlier start has written is taken out, and a failure of that costs nobody anything.
 */
export function dockerClientStep(deps: DockerClientStepDeps, findings: BootFindings): BootStep {
  const { options } = deps
  return {
    name: 'docker-client',
    // The overlay, because the configuration is in the home.
    needs: ['home', 'overlay', 'wall', 'proxy', 'trust'],
    timeoutMs: 5_000,
    onFailure: options.dockerClientProxy === 'on' ? 'degrade' : 'ignore',
    remedy: 'see ~/.docker/config.json; containers go without the proxy',
    run: async () => {
      if (findings.engine?.kind !== 'rootful' && findings.engine?.kind !== 'rootless')
        return { notDone: 'there is no Docker engine' }
      const proxyUrl = proxyForContainers(options, findings)
      const owner = await deps.owner()
      await configureDockerClient(join(owner?.home ?? options.home, '.docker', 'config.json'), {
        ...(owner === undefined ? {} : { owner }),
        proxyUrl,
      })
      return proxyUrl ?? 'without the proxy'
    },
  }
}

function proxyForContainers(options: AgentOptions, findings: BootFindings): string | undefined {
  const access = proxyAccess(findings)
  const hosts = findings.proxy?.hosts ?? []
  // A rootless engine leads whoever asks for the bridge's address to the proxy's.
  const reachable = hosts.some((host) => [BRIDGE_ADDRESS, ENGINE_PROXY_ADDRESS, '0.0.0.0'].includes(host))
  if (options.dockerClientProxy === 'off' || access === undefined || !reachable) return undefined
  return `http://${BRIDGE_ADDRESS}:${access.port}`
}
