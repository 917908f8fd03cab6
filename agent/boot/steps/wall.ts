import type { Logger } from '../../../base/log/logger.js'
import { NAMES_PORT } from '../../../config/model/paths.js'
import { hasCapability } from '../../docker/plan.js'
import type { AgentOptions } from '../../settings/options.js'
import type { Account } from '../../process/run-as.js'
import { wantedEnforcement } from '../../wall/enforcement.js'
import type { RunFilterProgram } from '../../wall/filter-program.js'
import { hasDockerResolver, misnamedInterfaces, sharedNetwork } from '../../wall/own-network.js'
import { EgressNotEnforcedError, raiseFilter } from '../../wall/packet-filter.js'
import { RefusalRecord } from '../../wall/refusal-record.js'
import { voluntaryLine } from '../../wall/wall.js'
import { NOTHING_FOUND, type WallFindings } from '../../wall/wall-findings.js'
import type { BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

interface WallStepDeps {
  readonly options: AgentOptions
  /** Text of `/proc/self/status`. */
  readonly status: string
  readonly proxyOwner: () => Promise<Account | undefined>
  /** The workspace's. */
  readonly owner: () => Promise<Account | undefined>
  readonly run: RunFilterProgram
  readonly logger: Logger
}

interface WallPlan {
  readonly step: BootStep
  /**
   * Once more, when the configuration has changed: what it asks for now is set up, and what is set up stays.
   *
   * @throws EgressNotEnforcedError when it must be and cannot.
   */
  followConfiguration(): Promise<void>
  /** After a last look at what was refused. Takes no rule away. Never rejects. */
  release(): Promise<void>
}

const NET_ADMIN = 12
/** A configuration that cannot be read may narrow traffic. */
const UNKNOWN: WallFindings = { ...NOTHING_FOUND, narrows: true }

/**
 * The packet filter that lets out nobody but the proxy, before anything of the workspace runs and before anybody is
 * told of the proxy. Git has fetched the workspace by then, of whose configuration it is made.
 */
export function planWall(deps: WallStepDeps, findings: BootFindings): WallPlan {
  const { options, logger } = deps
  let record: RefusalRecord | undefined
  // Asked at the start: later our services listen, and not all of them let us see what is theirs.
  let shared: { readonly reason: string | undefined } | undefined
  const raise = async (wall: WallFindings, namesPort?: number): Promise<void> => {
    requireContainer(options, deps.status)
    shared ??= { reason: sharedNetwork() }
    if (shared.reason !== undefined)
      throw new EgressNotEnforcedError(shared.reason, 'give the container a network of its own')
    const filter = await raiseFilter(
      {
        proxyUid: await uidOfProxy(deps),
        ownPorts: [...new Set([...wall.ownPorts, ...(findings.proxy ? [findings.proxy.apiPort] : [])])],
        dockerResolver: hasDockerResolver(),
        misnamed: misnamedInterfaces(),
        ...(namesPort === undefined ? {} : { namesPort }),
      },
      deps.run,
    )
    record = new RefusalRecord(filter, logger)
    findings.enforcement = {
      by: filter.by,
      ...(filter.namesPort === undefined ? {} : { namesPort: filter.namesPort }),
    }
  }
  const decide = async (wall: WallFindings, namesPort?: number): Promise<void> => {
    if (record !== undefined) return
    const wanted = wantedEnforcement(options, wall)
    if (wanted.kind === 'no') {
      findings.enforcement = { because: wanted.because, remedy: wanted.remedy }
      return
    }
    try {
      await raise(wall, namesPort)
    } catch (error) {
      if (!(error instanceof EgressNotEnforcedError)) throw error
      findings.enforcement = { because: error.reason, remedy: error.remedy }
      if (wanted.kind === 'must') throw error
    }
  }
  const tell = (wall: WallFindings): void => {
    const line = voluntaryLine(wall, findings.enforcement)
    if (line !== undefined && wall.hasPolicy) logger.warn({ level: 1 }, line)
  }
  return {
    step: {
      name: 'wall',
      // Listed before `proxy`, whose sockets would be strangers' to who looks whether the network is its own.
      needs: ['proxy-config'],
      timeoutMs: 30_000,
      // Whoever asks for it is not to run without it.
      onFailure: 'fatal',
      remedy: 'set DISCOBOT_EGRESS=cooperative to go without',
      run: async () => {
        const { wall = UNKNOWN } = findings
        if (mayFollow(options, deps.status)) shared = { reason: sharedNetwork() }
        await decide(wall, wall.answersNames ? NAMES_PORT : undefined)
        tell(wall)
        const { enforcement } = findings
        if (enforcement === undefined || 'by' in enforcement)
          return enforcement && `only the proxy leaves, by ${enforcement.by}`
        return { notDone: `egress is voluntary: ${enforcement.because}` }
      },
    },
    followConfiguration: async () => {
      const { wall = UNKNOWN } = findings
      if (record !== undefined) return
      // The proxy is told at its start that it is to answer for names.
      await decide(wall)
      tell(wall)
    },
    release: async () => record?.close(),
  }
}

function mayFollow({ mode, egress }: AgentOptions, status: string): boolean {
  return mode === 'container' && egress !== 'cooperative' && hasCapability(status, NET_ADMIN)
}

/** @throws EgressNotEnforcedError where no rule can be set, or none would be of use. */
function requireContainer({ mode, proxy }: AgentOptions, status: string): void {
  if (mode !== 'container')
    throw new EgressNotEnforcedError(
      'rules are set in a container of its own only, by root',
      'run it in a container',
    )
  if (proxy === 'off')
    throw new EgressNotEnforcedError(
      'DISCOBOT_PROXY is "off", and nothing could leave at all',
      'set DISCOBOT_PROXY=on',
    )
  if (!hasCapability(status, NET_ADMIN))
    throw new EgressNotEnforcedError('CAP_NET_ADMIN is missing', 'run the container with --cap-add NET_ADMIN')
}

/** @throws EgressNotEnforcedError where others run under its number, and could leave as well. */
async function uidOfProxy({ proxyOwner, owner }: WallStepDeps): Promise<number> {
  const proxy = await proxyOwner()
  if (proxy === undefined)
    throw new EgressNotEnforcedError('the proxy has no account of its own', 'see the step home')
  if (proxy.uid === 0 || proxy.uid === (await owner())?.uid)
    throw new EgressNotEnforcedError(
      `the account ${proxy.name} has the number ${proxy.uid}, which is another one's too`,
      'give it a number of its own in /etc/passwd',
    )
  return proxy.uid
}
