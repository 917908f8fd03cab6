import { LOOPBACK } from '../../../config/model/paths.js'
import { reasonOf } from '../../../base/errors.js'
import type { StepStatus } from '../../status/step.js'
import type { ServiceStatus } from '../../services/spec.js'
import type { WorkspaceState } from '../git/git-state.js'
import { getJson } from './json-get.js'

/** The body of `GET /api/status`. */
interface Status {
  /** `degraded` when anything below is not as it should be; `degraded` then says what. */
  readonly status: 'ok' | 'degraded'
  /** `unknown` when the agent cannot be asked. */
  readonly phase: string
  readonly boot: readonly StepStatus[]
  readonly services: readonly ServiceStatus[]
  readonly proxy: ProxyState
  readonly workspace: WorkspaceState
  readonly degraded: readonly string[]
}

type ProxyState =
  | { readonly state: 'ok'; readonly ca_cert?: string; readonly cache: Readonly<Record<string, unknown>> }
  | { readonly state: 'degraded'; readonly reason: string }
  /** The agent was told to do without one, or went on without it. */
  | { readonly state: 'off' }

export interface StatusSources {
  /** Path of the agent's control socket; absent when we were started by hand. */
  readonly controlSocket?: string
  readonly proxyApiPort: number
  readonly workspace: () => Promise<WorkspaceState>
  /** For each question to a neighbour; all are asked at once. */
  readonly timeoutMs: number
}

/** Asks everybody and never fails: whoever does not answer is a line in `degraded`. */
export async function gatherStatus(sources: StatusSources): Promise<Status> {
  const [agent, proxy, workspace] = await Promise.all([
    askAgent(sources),
    askProxy(sources),
    sources.workspace(),
  ])
  const running = agent.services.some((service) => service.name === 'proxy')
  const shown: ProxyState = !running && agent.phase !== 'unknown' ? { state: 'off' } : proxy
  const degraded = [
    ...agent.degraded,
    ...(shown.state === 'degraded' ? [shown.reason] : []),
    ...(workspace.state === 'unknown'
      ? [`cannot tell the state of ${workspace.path}: ${workspace.reason}`]
      : []),
  ]
  return {
    status: degraded.length === 0 ? 'ok' : 'degraded',
    phase: agent.phase,
    boot: agent.boot,
    services: agent.services,
    proxy: shown,
    workspace,
    degraded,
  }
}

type AgentPart = Pick<Status, 'phase' | 'boot' | 'services' | 'degraded'>

async function askAgent({ controlSocket, timeoutMs }: StatusSources): Promise<AgentPart> {
  const unknown = { phase: 'unknown', boot: [], services: [] }
  if (controlSocket === undefined)
    return { ...unknown, degraded: ['not started by the agent: no control socket'] }
  try {
    const answer = await getJson({ socketPath: controlSocket }, '/status', timeoutMs)
    const list = <Item>(value: unknown): readonly Item[] => (Array.isArray(value) ? (value as Item[]) : [])
    return {
      phase: String(answer['phase']),
      // The agent is the same version of the same program: its types hold.
      boot: list<StepStatus>(answer['boot']),
      services: list<ServiceStatus>(answer['services']),
      degraded: list<string>(answer['degraded']),
    }
  } catch (error) {
    return { ...unknown, degraded: [reasonOf(error)] }
  }
}

async function askProxy({ proxyApiPort, timeoutMs }: StatusSources): Promise<ProxyState> {
  const where = { host: LOOPBACK, port: proxyApiPort }
  try {
    const [health, cache] = await Promise.all([
      getJson(where, '/health', timeoutMs),
      getJson(where, '/api/cache/stats', timeoutMs),
    ])
    const caCert = health['ca_cert']
    return { state: 'ok', ...(typeof caCert === 'string' ? { ca_cert: caCert } : {}), cache }
  } catch (error) {
    return { state: 'degraded', reason: reasonOf(error) }
  }
}
