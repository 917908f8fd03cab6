import { lstatSync, readFileSync } from 'node:fs'
import { DiscobotError, reasonOf } from '../../../base/errors.js'
import { HANDOVER_FD_VARIABLE, type Handover } from '../../../base/process/handover.js'
import type { Logger } from '../../../base/log/logger.js'
import { LOOPBACK, NAMES_PORT, type DataPaths } from '../../../config/model/paths.js'
import {
  NAMES_PORT_VARIABLE,
  OWN_PORTS_VARIABLE,
  SECRETS_WITHHELD_VARIABLE,
} from '../../../config/model/told-by-agent.js'
import { READY_FD_VARIABLE } from '../../../base/process/ready-signal.js'
import { baseEnvironment, type Account, type Environment } from '../../settings/environment.js'
import type { AgentOptions } from '../../settings/options.js'
import { onlyNamed, onlySecrets } from '../../settings/secret-variables.js'
import { HeldSockets, PortTakenError, type SocketAddress } from '../../services/held-sockets.js'
import { readListeners, writeListeners } from '../../services/listeners-file.js'
import { findAccount } from '../../process/run-as.js'
import type { ServiceSpec } from '../../services/spec.js'
import type { Supervisor } from '../../services/supervisor.js'
import { portHolder } from '../../system/port-holder.js'
import { wantedEnforcement } from '../../wall/enforcement.js'
import type { Exposure } from '../../wall/exposure.js'
import type { BootFindings, ProxyEndpoints } from '../findings/findings.js'
import { stopGraces } from '../../services/shutdown.js'
import type { BootStep } from '../../status/step.js'

/** The account the proxy runs as: only it may read the key of the CA. */
export const PROXY_USER = 'discobot-proxy'

interface ProxyBootDeps {
  readonly options: AgentOptions
  readonly command: readonly [string, ...string[]]
  /** Our own account. */
  readonly self: { readonly name: string }
  readonly supervisor: Supervisor
  readonly logger: Logger
}

interface ProxyDeps {
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
class ProxyMissingError extends DiscobotError {
  readonly code = 'PROXY_UNAVAILABLE'
}

/** The seed's figure; without an answer by then the boot goes on without the proxy. */
const READY_TIMEOUT_MS = 10_000
/** The first that is free in a service. */
const HANDOVER_FD = 3
const READY_FD = 4

export interface ProxyBoot {
  /** Starts its process, where an earlier boot has made what that needs. The step `load` does the same. */
  loadNow(): void
  readonly load: BootStep
  readonly start: BootStep
}

/**
 * Starts the proxy and, once it answers, lets the later steps send everybody through it. One that does not
 * answer is stopped for good: variables that point at a dead port would cut the container off.
 *
 * Two steps: its process is started before anything else and reads its modules meanwhile. Then it waits, doing
 * nothing, for the handover of its secrets, which the second step gives it once its configuration and the CA are there.
 */
export function planProxy(
  { options, command, self, supervisor, logger }: ProxyBootDeps,
  findings: BootFindings,
): ProxyBoot {
  const { data, inherited, secrets, home, user } = options
  const place =
    options.mode === 'container'
      ? { user: PROXY_USER, account: { name: PROXY_USER, home: '/nonexistent' } }
      : { account: { name: user ?? self.name, home } }
  const stopGraceMs = stopGraces(options).proxy
  const deps: ProxyDeps = { command, data, ...place, inherited, secrets, stopGraceMs, supervisor, logger }
  let handOver = (_given: string): void => undefined
  const given = new Promise<string>((resolve) => (handOver = resolve))
  let added = false
  let sockets: HeldSockets | undefined
  const add = (held: HeldSockets): void => {
    sockets = held
    supervisor.add(specOf(deps, given, held))
    added = true
  }
  const loadNow = (): void => {
    if (added || !hasPlace(deps)) return
    // Its sockets are given to it as it is started, so those of the last start are taken for those of this one.
    const remembered = readListeners(data.listeners)
    if (remembered === undefined) return
    try {
      add(bind(remembered))
    } catch {
      // The step `proxy` tells of it.
      return
    }
    // What becomes of it is for the step `proxy` to tell.
    supervisor.start('proxy').catch(() => undefined)
  }
  const load: BootStep = {
    name: 'proxy-load',
    needs: [],
    timeoutMs: 5_000,
    onFailure: 'ignore',
    remedy: 'see the step proxy',
    run: () => {
      loadNow()
      return Promise.resolve(added ? undefined : { notDone: 'later: no account or folder yet' })
    },
  }
  const start: BootStep = {
    name: 'proxy',
    // Not the trust store: it takes longer, and only the proxy's clients need it.
    needs: [load.name, 'proxy-config', 'ca'],
    timeoutMs: READY_TIMEOUT_MS + deps.stopGraceMs + 5_000,
    onFailure: 'degrade',
    remedy: 'see the log of the service proxy',
    run: async (signal) => {
      try {
        const { proxy } = findings
        if (proxy === undefined)
          throw new ProxyMissingError('cannot start the proxy: there is no configuration for it')
        const wanted = addressesOf(proxy)
        if (sockets === undefined || !isSame(sockets.wanted, wanted)) {
          // Started with the sockets of another configuration.
          if (added) await supervisor.remove('proxy')
          added = false
          add(bind(wanted))
          await writeListeners(data.listeners, wanted)
        }
        handOver(givenTo(options, deps, findings))
        await supervisor.start('proxy', signal)
        findings.proxyAnswers = true
        return `port ${proxy.port}, API ${proxy.apiPort}`
      } catch (error) {
        if (added) await supervisor.stop('proxy')
        const failure = missing(error)
        deps.logger.error(
          { reason: reasonOf(failure) },
          'going on WITHOUT the proxy: nothing is cached, filtered or injected',
        )
        throw failure
      }
    },
  }
  return { loadNow, load, start }
}

/** Account and folder are as an earlier boot has made them; the step `home` sees to them otherwise. */
function hasPlace({ user, data }: ProxyDeps): boolean {
  const folder = lstatSync(data.proxyDir, { throwIfNoEntry: false })
  if (folder?.isDirectory() !== true) return false
  return user === undefined || findAccount(readFileSync('/etc/passwd', 'utf8'), user)?.uid === folder.uid
}

function specOf(deps: ProxyDeps, given: Promise<string>, sockets: HeldSockets): ServiceSpec {
  const { data, user } = deps
  return {
    name: 'proxy',
    command: [...deps.command, '-config', data.proxyConfig],
    env: {
      ...baseEnvironment(deps.account, deps.inherited),
      DISCOBOT_DATA_DIR: data.root,
      [HANDOVER_FD_VARIABLE]: String(HANDOVER_FD),
      [READY_FD_VARIABLE]: String(READY_FD),
    },
    handover: { fd: HANDOVER_FD, given },
    sockets,
    // On somebody's own machine it has no account of its own, and guards nobody from its owner.
    ...(user === undefined ? {} : { guards: true }),
    cwd: data.proxyDir,
    ...(user === undefined ? {} : { user }),
    after: [],
    // Written when all its ports are listened on.
    readiness: { kind: 'newline', fd: READY_FD },
    readyTimeoutMs: READY_TIMEOUT_MS,
    restart: 'always',
    essential: false,
    stopGraceMs: deps.stopGraceMs,
  }
}

/** What is withheld is not given at all, and the proxy is told why. */
function givenTo(
  options: AgentOptions,
  { inherited, secrets }: ProxyDeps,
  { secretVariables = [], wall }: BootFindings,
): string {
  // Whether the filter can be had is not known yet; where it cannot, nobody is sent there.
  const answersNames = wall?.answersNames === true && wantedEnforcement(options, wall).kind !== 'no'
  const all = { ...inherited, ...secrets }
  const exposure = options.mode === 'container' ? wall?.exposure : undefined
  const handover: Handover = {
    env: {
      ...(exposure === undefined
        ? onlySecrets(all, secretVariables)
        : {
            ...onlyNamed(all, wall?.trustedVariables ?? []),
            [SECRETS_WITHHELD_VARIABLE]: withheldReason(exposure),
          }),
      ...(answersNames ? { [NAMES_PORT_VARIABLE]: String(NAMES_PORT) } : {}),
      [OWN_PORTS_VARIABLE]: (wall?.ownPorts ?? []).join(','),
    },
  }
  return JSON.stringify(handover)
}

function withheldReason({ reason, remedy }: Exposure): string {
  return `${reason}; ${remedy}, or write trust_docker: true with the secret`
}

/** The API is for this machine only, whatever the proxy listens on. */
function addressesOf({ hosts, port, apiPort }: ProxyEndpoints): readonly SocketAddress[] {
  return [...hosts.map((host) => ({ host, port })), { host: LOOPBACK, port: apiPort }]
}

/** The first must be there, and the API's; the bridge's may appear later. */
function bind(addresses: readonly SocketAddress[]): HeldSockets {
  const needed = [addresses[0], addresses.at(-1)]
  try {
    return HeldSockets.bind(addresses, (address) => !needed.includes(address))
  } catch (error) {
    if (!(error instanceof PortTakenError) || error.errno !== 'EADDRINUSE') throw error
    const { host, port } = error.address
    const holder = portHolder(port)
    throw new ProxyMissingError(
      `cannot listen on ${host}:${port}: another process has it; stop that one${holder === undefined ? '' : ` (${holder})`}`,
      { cause: error },
    )
  }
}

function isSame(one: readonly SocketAddress[], other: readonly SocketAddress[]): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function missing(error: unknown): ProxyMissingError {
  return new ProxyMissingError(reasonOf(error) + remedyFor(reasonOf(error)), { cause: error })
}

function remedyFor(reason: string): string {
  if (!/another process has it/.test(reason)) return ''
  return '; name other ports as proxy.port and proxy.api_port in the file of DISCOBOT_PROXY_CONFIG'
}
