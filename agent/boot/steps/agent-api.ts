import { stat } from '../../../base/files/files-at-once.js'
import { HANDOVER_FD_VARIABLE, type Handover } from '../../../base/process/handover.js'
import { READY_FD_VARIABLE } from '../../../base/process/ready-signal.js'
import { DiscobotError, reasonOf } from '../../../base/errors.js'
import type { Logger } from '../../../base/log/logger.js'
import {
  baseEnvironment,
  serviceEnvironment,
  type Account,
  type Environment,
} from '../../settings/environment.js'
import type { AgentOptions } from '../../settings/options.js'
import { variablesNamedIn, withoutSecrets } from '../../settings/secret-variables.js'
import { HeldSockets } from '../../services/held-sockets.js'
import type { Readiness, ServiceSpec } from '../../services/spec.js'
import type { Supervisor } from '../../services/supervisor.js'
import { portHolder } from '../../system/port-holder.js'
import { proxyAccess, type BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

interface AgentApiStepDeps {
  readonly options: AgentOptions
  /** The built-in one. */
  readonly command: readonly [string, ...string[]]
  readonly account: Account
  readonly stopGraceMs: number
  readonly supervisor: Supervisor
  readonly logger: Logger
  /** Lets the built-in one change services over the control socket. */
  readonly controlToken: string
}

/** The agent API did not come up at the first attempt; it is started again until it is given up. */
class AgentApiError extends DiscobotError {
  readonly code = 'AGENT_API_UNAVAILABLE'
}

/** The first that is free in a service; `api/main.ts` is told of it. */
const HANDOVER_FD = 3
const READY_FD = 4
/** A command of the operator's may load a model or migrate a database before it answers. */
const READY_TIMEOUT_MS = 60_000

/**
 * What the container is there for: when it ends for good, the container ends with its code. Waits for the
 * workspace and the proxy's variables, not for dockerd.
 *
 * Two steps for the built-in one: its process is started beside the proxy's, and reads its modules while that comes
 * up. Then it waits, doing nothing, for the handover of its environment, which the second step gives it: it
 * neither listens nor runs anything before all that it needs is ready.
 */
export function agentApiSteps(deps: AgentApiStepDeps, findings: BootFindings): BootStep[] {
  const { options, supervisor } = deps
  let handOver = (_given: string): void => undefined
  const handover = new Promise<string>((resolve) => (handOver = resolve))
  const load: BootStep = {
    name: 'agent-api-load',
    // The account of `home` would do. But then it takes from the proxy's process the time that all wait for.
    needs: ['home', 'proxy-config', 'ca'],
    timeoutMs: 5_000,
    onFailure: 'ignore',
    remedy: 'see the step agent-api',
    run: () => {
      supervisor.add(builtIn(deps, handover, holdPort(deps)))
      // What becomes of it is for the other step to tell.
      supervisor.start('agent-api').catch(() => undefined)
      return Promise.resolve()
    },
  }
  const start: BootStep = {
    name: 'agent-api',
    needs: ['control', 'workspace', 'overlay', 'link', 'wall', 'proxy', 'trust', 'profile', load.name],
    timeoutMs: READY_TIMEOUT_MS + deps.stopGraceMs + 5_000,
    // The supervisor ends the container when it gives the service up; the boot does not know better.
    onFailure: 'degrade',
    remedy: 'see the log of the service agent-api',
    run: async (signal) => {
      if (options.agentCommand === undefined) {
        const given: Handover = { token: deps.controlToken, env: await environment(deps, findings) }
        handOver(JSON.stringify(given))
      } else {
        supervisor.add(await operatorsOwn(deps, options.agentCommand, findings))
      }
      return startAgentApi(deps, signal)
    },
  }
  return options.agentCommand === undefined ? [load, start] : [start]
}

/** What else it needs comes with the handover. */
function builtIn(
  deps: AgentApiStepDeps,
  given: Promise<string>,
  sockets: HeldSockets | undefined,
): ServiceSpec {
  const { data, inherited, user } = deps.options
  return {
    ...common(deps),
    command: deps.command,
    env: {
      ...baseEnvironment(deps.account, inherited),
      DISCOBOT_DATA_DIR: data.root,
      [HANDOVER_FD_VARIABLE]: String(HANDOVER_FD),
      [READY_FD_VARIABLE]: String(READY_FD),
    },
    handover: { fd: HANDOVER_FD, given },
    ...(sockets === undefined ? {} : { sockets }),
    // Each command and terminal gets a group, so that nothing of it is left when its client leaves.
    delegated: true,
    cwd: '/',
    ...(user === undefined ? {} : { user }),
    // Written when its port is listened on.
    readiness: { kind: 'newline', fd: READY_FD },
    restart: 'always',
  }
}

/** Undefined where the kernel is to choose, or somebody has it: then the program itself finds it taken, and says so. */
function holdPort({ options, logger }: AgentApiStepDeps): HeldSockets | undefined {
  const { agentHost: host, agentPort: port } = options
  if (port === 0) return undefined
  try {
    return HeldSockets.bind([{ host, port }])
  } catch (error) {
    const holder = portHolder(port)
    logger.error(
      { reason: reasonOf(error), ...(holder === undefined ? {} : { holder }) },
      'cannot hold the port of the agent API',
    )
    return undefined
  }
}

/** Without a handover, which it would leave to be read by all that it starts. */
async function operatorsOwn(
  deps: AgentApiStepDeps,
  command: readonly [string, ...string[]],
  findings: BootFindings,
): Promise<ServiceSpec> {
  const { options } = deps
  return {
    ...common(deps),
    command,
    env: await environment(deps, findings),
    // A workspace that cannot be had must not keep the container from coming up.
    cwd: (await isFolder(options.workspace.path)) ? options.workspace.path : options.data.root,
    ...(options.user === undefined ? {} : { user: options.user }),
    readiness: readinessOf(options),
    restart: 'on-failure',
  }
}

function common({ stopGraceMs }: AgentApiStepDeps) {
  const name = 'agent-api'
  return { name, after: [], readyTimeoutMs: READY_TIMEOUT_MS, essential: true, stopGraceMs } as const
}

function environment({ options, account }: AgentApiStepDeps, findings: BootFindings): Promise<Environment> {
  const own = options.agentCommand === undefined ? ownVariables(options) : {}
  return commandEnvironment(options, account, findings, own)
}

/** For a command of the user's: all that the container has for its programs, and no secret. */
export async function commandEnvironment(
  options: AgentOptions,
  account: Account,
  findings: BootFindings,
  own: Environment = {},
): Promise<Environment> {
  const access = proxyAccess(findings)
  const secretNames =
    findings.secretVariables ?? (await variablesNamedIn(options.proxyConfig, options.inherited))
  return serviceEnvironment({
    account,
    inherited: withoutSecrets(options.inherited, secretNames),
    ...(access === undefined ? {} : { proxy: access }),
    extra: {
      DISCOBOT_AGENT_PORT: String(options.agentPort),
      DISCOBOT_AGENT_SOCKET: options.controlSocket,
      DISCOBOT_WORKSPACE_PATH: options.workspace.path,
      DISCOBOT_DATA_DIR: options.data.root,
      DISCOBOT_SESSION_ID: options.sessionId,
      ...(findings.proxy === undefined ? {} : { DISCOBOT_PROXY_API_PORT: String(findings.proxy.apiPort) }),
      ...own,
    },
  })
}

async function startAgentApi(
  { options, supervisor }: AgentApiStepDeps,
  signal: AbortSignal,
): Promise<string> {
  const own = options.agentCommand
  try {
    await supervisor.start('agent-api', signal)
  } catch (error) {
    const taken = /already listens|the port is in use/.test(reasonOf(error))
    const remedy = taken
      ? '; name another port in DISCOBOT_AGENT_PORT'
      : own === undefined
        ? ''
        : '; see DISCOBOT_AGENT_COMMAND'
    throw new AgentApiError(reasonOf(error) + remedy, { cause: error })
  }
  return own === undefined ? `port ${options.agentPort}` : own[0]
}

/** For the built-in one. What it starts never gets them, and a digest is not the token of its clients. */
function ownVariables({ agentHost, apiTokenSha256 }: AgentOptions): Record<string, string> {
  return {
    DISCOBOT_AGENT_HOST: agentHost,
    ...(apiTokenSha256 === undefined ? {} : { DISCOBOT_API_TOKEN_SHA256: apiTokenSha256 }),
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}

/** A command of the operator's need not listen at all; that it does is said by naming the port. */
function readinessOf(options: AgentOptions): Readiness {
  if (options.agentPortNamed) return { kind: 'tcp', host: 'localhost', port: options.agentPort }
  return { kind: 'started' }
}
