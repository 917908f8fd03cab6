import { stat } from 'node:fs/promises'
import { LOOPBACK } from '../../../config/paths.js'
import { DiscobotError, reasonOf } from '../../../config/errors.js'
import { serviceEnvironment, type Account } from '../../environment.js'
import type { AgentOptions } from '../../options.js'
import { variablesNamedIn, withoutSecrets } from '../../secret-variables.js'
import type { Readiness } from '../../services/spec.js'
import type { Supervisor } from '../../services/supervisor.js'
import { proxyAccess, type BootFindings } from '../findings.js'
import type { BootStep } from '../step.js'

export interface AgentApiStepDeps {
  readonly options: AgentOptions
  /** The built-in one. */
  readonly command: readonly [string, ...string[]]
  readonly account: Account
  readonly stopGraceMs: number
  readonly supervisor: Supervisor
  /** Lets the built-in one change services over the control socket. */
  readonly controlToken: string
}

/** The agent API did not come up at the first attempt; it is started again until it is given up. */
export class AgentApiError extends DiscobotError {
  readonly code = 'AGENT_API_UNAVAILABLE'
}

/** The first that is free in a service; `api/main.ts` is told of it. */
const TOKEN_FD = 3
/** A command of the operator's may load a model or migrate a database before it answers. */
const READY_TIMEOUT_MS = 60_000

/**
 * What the container is there for: when it ends for good, the container ends with its code. Waits for the
 * workspace and the proxy's variables, not for dockerd.
 */
export function agentApiStep(deps: AgentApiStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'agent-api',
    needs: ['control', 'workspace', 'overlay', 'link', 'proxy', 'trust', 'profile'],
    timeoutMs: READY_TIMEOUT_MS + deps.stopGraceMs + 5_000,
    // The supervisor ends the container when it gives the service up; the boot does not know better.
    onFailure: 'degrade',
    remedy: 'see the log of the service agent-api',
    run: (signal) => startAgentApi(deps, findings, signal),
  }
}

async function startAgentApi(
  deps: AgentApiStepDeps,
  findings: BootFindings,
  signal: AbortSignal,
): Promise<string> {
  const { options, supervisor } = deps
  const own = options.agentCommand
  const access = proxyAccess(findings)
  const secretNames =
    findings.secretVariables ?? (await variablesNamedIn(options.proxyConfig, options.inherited))
  supervisor.add({
    name: 'agent-api',
    command: own ?? deps.command,
    env: serviceEnvironment({
      account: deps.account,
      inherited: withoutSecrets(options.inherited, secretNames),
      ...(access === undefined ? {} : { proxy: access }),
      extra: {
        DISCOBOT_AGENT_PORT: String(options.agentPort),
        DISCOBOT_AGENT_SOCKET: options.controlSocket,
        DISCOBOT_WORKSPACE_PATH: options.workspace.path,
        DISCOBOT_DATA_DIR: options.data.root,
        DISCOBOT_SESSION_ID: options.sessionId,
        ...(findings.proxy === undefined ? {} : { DISCOBOT_PROXY_API_PORT: String(findings.proxy.apiPort) }),
        ...(own === undefined ? ownVariables(options) : {}),
      },
    }),
    // Whoever does not expect it would leave it to be read by all that it starts.
    ...(own === undefined ? { handover: { fd: TOKEN_FD, text: deps.controlToken } } : {}),
    // A workspace that cannot be had must not keep the container from coming up.
    cwd: (await isFolder(options.workspace.path)) ? options.workspace.path : options.data.root,
    ...(options.user === undefined ? {} : { user: options.user }),
    after: [],
    readiness: readinessOf(options),
    readyTimeoutMs: READY_TIMEOUT_MS,
    restart: own === undefined ? 'always' : 'on-failure',
    essential: true,
    stopGraceMs: deps.stopGraceMs,
  })
  try {
    await supervisor.start('agent-api', signal)
  } catch (error) {
    const taken = /already listens/.test(reasonOf(error))
    const remedy = taken
      ? '; name another port in DISCOBOT_AGENT_PORT'
      : own === undefined
        ? ''
        : '; see DISCOBOT_AGENT_COMMAND'
    throw new AgentApiError(reasonOf(error) + remedy, { cause: error })
  }
  return own === undefined ? `port ${options.agentPort}` : own[0]
}

/** For the built-in one. Whoever may read its environment learns the digest of its clients' token, not the token. */
function ownVariables({ agentHost, apiTokenSha256 }: AgentOptions): Record<string, string> {
  return {
    DISCOBOT_AGENT_HOST: agentHost,
    DISCOBOT_CONTROL_TOKEN_FD: String(TOKEN_FD),
    ...(apiTokenSha256 === undefined ? {} : { DISCOBOT_API_TOKEN_SHA256: apiTokenSha256 }),
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}

/** A command of the operator's need not listen at all; that it does is said by naming the port. */
function readinessOf(options: AgentOptions): Readiness {
  if (options.agentCommand === undefined) {
    const { agentHost } = options
    const host = ['0.0.0.0', '::'].includes(agentHost) ? LOOPBACK : agentHost
    const authority = host.includes(':') ? `[${host}]` : host
    return { kind: 'http', url: `http://${authority}:${options.agentPort}/health` }
  }
  if (options.agentPortNamed) return { kind: 'tcp', host: LOOPBACK, port: options.agentPort }
  return { kind: 'started' }
}
