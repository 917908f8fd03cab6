import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DiscobotError, reasonOf } from '../../../base/errors.js'
import { nestCgroups } from '../../docker/cgroup-nesting.js'
import type { Choice } from '../../docker/choice.js'
import { readDaemonSettings, type DaemonSettings } from '../../docker/daemon-settings.js'
import { chooseIptables } from '../../docker/iptables.js'
import { chooseMtu } from '../../docker/mtu.js'
import { chooseProxy } from '../../docker/proxy-flags.js'
import { chooseStorage } from '../../docker/storage-driver.js'
import { digestOfTrust } from '../findings/trust-change.js'
import type { CommandOptions } from '../../system/command.js'
import { proxyAccess, type BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'
import { startRootless } from './dockerd-rootless.js'
import {
  READY_TIMEOUT_MS,
  ROOT,
  describeChoices,
  engineEnvironment,
  majorVersion,
  searchPath,
  type DockerdStepDeps,
  type StartedEngine,
} from './dockerd-start.js'

/** There is no engine where somebody counts on one. */
class EngineMissingError extends DiscobotError {
  readonly code = 'DOCKER_ENGINE_MISSING'
}

/** dockerd runs, and something about it does not work as it should. */
class DockerdLimitedError extends DiscobotError {
  readonly code = 'DOCKERD_LIMITED'
}

const SOCKET = '/var/run/docker.sock'
/** What is tried before the start: each a few commands that end at once. */
const TRIALS_MS = 20_000
const IPTABLES_FOLDER = '/run/discobot/iptables'

/** After the proxy and the trust store: Go reads both once, at its start. Nothing waits for dockerd. */
export function dockerdStep(deps: DockerdStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'dockerd',
    needs: ['home', 'wall', 'proxy', 'trust'],
    timeoutMs: TRIALS_MS + READY_TIMEOUT_MS + deps.stopGraceMs + 5_000,
    onFailure: 'degrade',
    remedy: 'see the log of the service dockerd, or set DISCOBOT_DOCKER=off',
    run: async (signal) => {
      const { engine } = findings
      if (engine === undefined)
        throw new EngineMissingError(
          'cannot start dockerd: it is not known which secrets are in force; see proxy-config',
        )
      if (engine.kind === 'none') {
        const { why, remedy } = engine
        if (remedy === undefined) return { notDone: why }
        throw new EngineMissingError(`cannot start dockerd: ${why}; ${remedy}`)
      }
      const start = engine.kind === 'rootless' ? startRootless : startRootful
      const { socket, choices } = await start(deps, engine.dockerd, findings, signal)
      const limits = choices.flatMap(({ limit }) => (limit === undefined ? [] : [limit]))
      findings.engineLimits = limits
      if (limits.length > 0) throw new DockerdLimitedError(`dockerd runs with limits: ${limits.join('; ')}`)
      return `${engine.kind}, since ${engine.why}: ${socket}, ${describeChoices(choices)}${OPEN_TO_USERS[engine.kind]}`
    },
  }
}

/** For the timeline; `status` has more of it. */
const OPEN_TO_USERS = {
  rootful: '; its users are root in the container',
  rootless: '; its users have the rights of discobot-docker',
} as const

async function startRootful(
  deps: DockerdStepDeps,
  dockerd: string,
  findings: BootFindings,
  signal: AbortSignal,
): Promise<StartedEngine> {
  const settings = await readDaemonSettings(deps.options.dockerdArgs)
  await removeStalePids('/var/run')
  const choices = await choose(deps, dockerd, settings, findings, signal)
  deps.logger.info({ choices: describeChoices(choices) }, 'starting dockerd')
  const socket = await startDockerd(deps, dockerd, settings, choices, findings, signal)
  return { socket, choices }
}

/** One after another: each is quick, and together they would only wait for the same two cores. */
async function choose(
  { options, run }: DockerdStepDeps,
  dockerd: string,
  settings: DaemonSettings,
  findings: BootFindings,
  signal: AbortSignal,
): Promise<readonly Choice[]> {
  const command: CommandOptions = { env: { PATH: searchPath(options) }, cwd: '/', signal }
  const dataRoot = settings.value('data-root') ?? options.data.dockerDir
  const major = await majorVersion(run, dockerd, command)
  return [
    await chooseStorage({ settings, dataRoot, run, command }),
    await chooseIptables({ settings, folder: IPTABLES_FOLDER, run, command }),
    await chooseMtu(major),
    chooseProxy(major, proxyAccess(findings)),
    await chooseCgroups(),
  ]
}

/** Containers without limits are better than none. */
async function chooseCgroups(): Promise<Choice> {
  try {
    return { flags: [], told: `cgroups ${await nestCgroups('/sys/fs/cgroup')}` }
  } catch (error) {
    return { flags: [], told: 'cgroups not handed down', limit: reasonOf(error) }
  }
}

async function startDockerd(
  { options, supervisor, stopGraceMs }: DockerdStepDeps,
  dockerd: string,
  settings: DaemonSettings,
  choices: readonly Choice[],
  findings: BootFindings,
  signal: AbortSignal,
): Promise<string> {
  const socket = socketOf(settings)
  const flags = settings.without([
    ['data-root', options.data.dockerDir],
    // The same socket twice is refused.
    ...(settings.hosts.includes(`unix://${socket}`) ? [] : ([['host', `unix://${socket}`]] as const)),
    // Mode 0660 is dockerd's own.
    ['group', 'docker'],
    // At its own default it tells of every connection it makes to itself.
    ['log-level', 'warn'],
    ...choices.flatMap((choice) => choice.flags),
  ])
  findings.dockerdTrusts = await digestOfTrust(findings)
  supervisor.add({
    name: 'dockerd',
    command: [dockerd, ...flags.map(([name, value]) => `--${name}=${value}`), ...options.dockerdArgs],
    env: engineEnvironment(options, ROOT, proxyAccess(findings), choices),
    cwd: '/',
    after: [],
    readiness: { kind: 'unix-http', socketPath: socket, path: '/_ping' },
    readyTimeoutMs: READY_TIMEOUT_MS,
    restart: 'on-failure',
    essential: false,
    stopGraceMs,
  })
  await supervisor.start('dockerd', signal)
  return socket
}

/** Where we ask whether it is ready: the operator's own socket if its file leaves no room for ours. */
function socketOf({ hosts, hostsInFile }: DaemonSettings): string {
  if (!hostsInFile) return SOCKET
  const sockets = hosts
    .filter((host) => host.startsWith('unix://'))
    .map((host) => host.slice('unix://'.length))
  return sockets.find((socket) => socket === SOCKET) ?? sockets[0] ?? SOCKET
}

/** dockerd refuses to start when the pid in its file is alive, and after a restart it is somebody else's. */
export async function removeStalePids(folder: string): Promise<void> {
  const stale = (await readdir(folder)).filter((name) => /^docker.*\.pid$/.test(name))
  for (const name of [...stale, 'docker/containerd/containerd.pid'])
    await rm(join(folder, name), { force: true })
}
