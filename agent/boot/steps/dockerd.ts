import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf } from '../../../config/errors.js'
import type { Logger } from '../../../config/logger.js'
import { nestCgroups } from '../../docker/cgroup-nesting.js'
import { configureDockerClient } from '../../docker/client-config.js'
import { BRIDGE_ADDRESS, type DockerPlan } from '../../docker/plan.js'
import { serviceEnvironment } from '../../environment.js'
import type { AgentOptions } from '../../options.js'
import type { Account } from '../../services/run-as.js'
import type { Supervisor } from '../../services/supervisor.js'
import { proxyAccess, type BootFindings } from '../findings.js'
import type { BootStep } from '../step.js'

export interface DockerdStepDeps {
  readonly options: AgentOptions
  readonly plan: DockerPlan
  /** Whose docker client is configured; resolves with undefined for ourselves. */
  readonly owner: () => Promise<Account | undefined>
  readonly stopGraceMs: number
  readonly supervisor: Supervisor
  readonly logger: Logger
}

const SOCKET = '/var/run/docker.sock'
/** A data root with many containers is loaded before the first answer. */
const READY_TIMEOUT_MS = 60_000

/** After the proxy and the trust store: Go reads both once, at its start. Nothing waits for dockerd. */
export function dockerdStep(deps: DockerdStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'dockerd',
    // The overlay, because the client's configuration is in the home.
    needs: ['home', 'overlay', 'proxy', 'trust'],
    timeoutMs: READY_TIMEOUT_MS + deps.stopGraceMs + 5_000,
    onFailure: 'degrade',
    run: async (signal) => {
      if (!deps.plan.run) return `not started: ${deps.plan.reason}`
      await removeStalePids('/var/run')
      await nestCgroups('/sys/fs/cgroup')
      await pointContainersAtProxy(deps, findings)
      await startDockerd(deps, deps.plan.dockerd, findings, signal)
      return SOCKET
    },
  }
}

async function startDockerd(
  { options, supervisor, stopGraceMs }: DockerdStepDeps,
  dockerd: string,
  findings: BootFindings,
  signal: AbortSignal,
): Promise<void> {
  const access = proxyAccess(findings)
  supervisor.add({
    name: 'dockerd',
    command: [
      dockerd,
      '--data-root',
      options.data.dockerDir,
      '--host',
      `unix://${SOCKET}`,
      // Mode 0660 is dockerd's own.
      '--group',
      'docker',
      // At its own default it tells of every connection it makes to itself. The operator's word comes later.
      '--log-level',
      'warn',
      ...options.dockerdArgs,
    ],
    env: serviceEnvironment({
      account: { name: 'root', home: '/root' },
      inherited: {},
      ...(access === undefined ? {} : { proxy: access }),
      extra: {
        PATH: options.inherited['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      },
    }),
    cwd: '/',
    after: [],
    readiness: { kind: 'unix-http', socketPath: SOCKET, path: '/_ping' },
    readyTimeoutMs: READY_TIMEOUT_MS,
    restart: 'on-failure',
    essential: false,
    stopGraceMs,
  })
  await supervisor.start('dockerd', signal)
}

/** dockerd refuses to start when the pid in its file is alive, and after a restart it is somebody else's. */
export async function removeStalePids(folder: string): Promise<void> {
  const stale = (await readdir(folder)).filter((name) => /^docker.*\.pid$/.test(name))
  for (const name of [...stale, 'docker/containerd/containerd.pid'])
    await rm(join(folder, name), { force: true })
}

/**
 * By the bridge's address: `localhost` is the container itself there. Only where it was asked for: images that
 * do not trust our CA would fail every https request.
 */
async function pointContainersAtProxy(deps: DockerdStepDeps, findings: BootFindings): Promise<void> {
  const access = proxyAccess(findings)
  const { proxy } = findings
  const reachable =
    deps.options.dockerClientProxy === 'on' &&
    access !== undefined &&
    proxy?.hosts.some((host) => host === BRIDGE_ADDRESS || host === '0.0.0.0')
  const owner = await deps.owner()
  try {
    await configureDockerClient(join(owner?.home ?? deps.options.home, '.docker', 'config.json'), {
      ...(owner === undefined ? {} : { owner }),
      proxyUrl: reachable === true ? `http://${BRIDGE_ADDRESS}:${access.port}` : undefined,
    })
  } catch (error) {
    deps.logger.warn({ reason: reasonOf(error) }, 'containers go without the proxy')
  }
}
