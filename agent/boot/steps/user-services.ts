import { join, resolve } from 'node:path'
import { stat } from '../../../base/files/files-at-once.js'
import { DiscobotError, reasonOf } from '../../../base/errors.js'
import type { Logger } from '../../../base/log/logger.js'
import { formatProblem } from '../../../config/yaml/problem.js'
import { serviceEnvironment, type Account } from '../../settings/environment.js'
import { AGENT } from '../../logs/log-entry.js'
import type { AgentOptions } from '../../settings/options.js'
import { variablesNamedIn, withoutSecrets } from '../../settings/secret-variables.js'
import type { FileService } from '../../services/file-load.js'
import type { ServiceSpec } from '../../services/spec.js'
import type { Supervisor } from '../../services/supervisor.js'
import { readAccount } from '../../system/accounts.js'
import { proxyAccess, type BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

interface UserServicesStepDeps {
  readonly options: AgentOptions
  /** Of the workspace. */
  readonly account: Account
  readonly supervisor: Supervisor
  readonly logger: Logger
}

/** Some services of the image's or the workspace's files are not there, or did not get ready. */
class UserServicesError extends DiscobotError {
  readonly code = 'USER_SERVICES_INCOMPLETE'
}

/** Also while a setting leaves them out: a name means the same in every container. */
export const BUILT_IN = ['proxy', 'dockerd', 'agent-api', AGENT]
export const IMAGE_FOLDER = '/etc/discobot/services.d'
/** The longest `ready_timeout` is an hour; the boot waits for as long as most take, and they go on. */
const TIMEOUT_MS = 120_000

interface UserServices {
  readonly step: BootStep
  /**
   * Takes up what the files say by now: what is new is started, what says something else is started anew, what is gone
   * is stopped, and all others are left alone. With a mistake in a file nothing counts as gone.
   *
   * @throws UserServicesError with all mistakes, and what did not get ready.
   */
  reload(): Promise<void>
}

/**
 * What the image and the workspace add. After everything built in, so that all of it can be depended on. Only in a
 * container: on somebody's own machine, cloning a repository must not run what is written in it.
 */
export function planUserServices(deps: UserServicesStepDeps, findings: BootFindings): UserServices {
  const { supervisor } = deps
  /** By name: what it was started as. */
  const taken = new Map<string, string>()
  let begun = false

  const takeUp = async (signal: AbortSignal): Promise<string> => {
    begun = true
    const { specs, complaints } = await readSpecs(deps, findings)
    const named = new Set(specs.map(({ name }) => name))
    const fresh = specs.filter((spec) => taken.get(spec.name) !== JSON.stringify(spec))
    const gone = complaints.length > 0 ? [] : [...taken.keys()].filter((name) => !named.has(name))
    const changed = fresh.flatMap(({ name }) => (taken.has(name) ? [name] : []))
    const left = new Set<string>()
    const remove = async (name: string): Promise<void> => {
      if ((await supervisor.remove(name)) === 'left') left.add(name)
      taken.delete(name)
    }
    await Promise.all([...gone, ...changed].map(remove))
    for (const name of left) complaints.push(`something of the former ${name} cannot be killed`)

    const starts = new Map<string, Promise<void>>()
    for (const spec of fresh.filter(({ name }) => !left.has(name))) {
      try {
        supervisor.add(spec)
      } catch (error) {
        // One that cannot be added must not cost the others their start.
        complaints.push(reasonOf(error))
        continue
      }
      taken.set(spec.name, JSON.stringify(spec))
      starts.set(spec.name, startAfter(spec, starts, supervisor, signal))
    }
    for (const result of await Promise.allSettled(starts.values())) {
      if (result.status === 'rejected') complaints.push(reasonOf(result.reason))
    }
    if (complaints.length > 0) throw new UserServicesError(complaints.join('; '))
    return specs.map(({ name }) => name).join(', ') || 'none'
  }

  // One after the other: two that stop and add the same services would meet.
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = (signal: AbortSignal): Promise<string> => {
    const mine = last.then(() => takeUp(signal))
    last = mine.catch(() => undefined)
    return mine
  }
  return {
    step: {
      name: 'services',
      needs: [
        'control',
        'workspace',
        'overlay',
        'link',
        'wall',
        'proxy',
        'trust',
        'profile',
        'dockerd',
        'agent-api',
      ],
      timeoutMs: TIMEOUT_MS,
      onFailure: 'degrade',
      remedy: 'see the log of the services that are not ready',
      run: inTurn,
    },
    async reload() {
      // The boot will read them as they are then.
      if (begun) await inTurn(new AbortController().signal)
    },
  }
}

/** What the files say, and what is wrong with them. */
async function readSpecs(
  { options, account, supervisor, logger }: UserServicesStepDeps,
  findings: BootFindings,
): Promise<{ readonly specs: readonly ServiceSpec[]; readonly complaints: string[] }> {
  const { workspace } = options
  const paths = [IMAGE_FOLDER, join(workspace.path, '.discobot/services.yaml')]
  const present = await Promise.all(paths.map((path) => stat(path).catch(() => undefined)))
  if (present.every((one) => one === undefined)) return { specs: [], complaints: [] }
  // Reading YAML costs 50 ms that a boot without such files does not have to spend.
  const { loadServices } = await import('../../services/file-load.js')
  const { services, problems } = await loadServices({
    imageFolder: IMAGE_FOLDER,
    workspace: workspace.path,
    workspaceUser: account.name,
    workspaceUserIsRoot: (await readAccount('', account.name))?.uid === 0,
    builtIn: BUILT_IN,
    running: BUILT_IN.filter((name) => supervisor.status().some((service) => service.name === name)),
  })
  const complaints = problems.map(formatProblem)
  for (const problem of complaints) logger.warn({ problem }, 'a service is left out')

  const secretNames =
    findings.secretVariables ?? (await variablesNamedIn(options.proxyConfig, options.inherited))
  const inherited = withoutSecrets(options.inherited, secretNames)
  const specs = await Promise.all(
    services.map((service) => specOf(service, { ...options, inherited }, account, findings)),
  )
  return { specs, complaints }
}

async function startAfter(
  { name, after }: ServiceSpec,
  starts: ReadonlyMap<string, Promise<void>>,
  supervisor: Supervisor,
  signal: AbortSignal,
): Promise<void> {
  // Whether what it needs is ready is for the supervisor to say.
  await Promise.allSettled(after.map((needed) => starts.get(needed) ?? Promise.resolve()))
  await supervisor.start(name, signal)
}

async function specOf(
  service: FileService,
  options: AgentOptions,
  account: Account,
  findings: BootFindings,
): Promise<ServiceSpec> {
  const own = service.source === 'workspace'
  const user = own ? account.name : (service.user ?? account.name)
  const home = user === account.name ? account.home : ((await readAccount('', user))?.home ?? '/')
  const access = proxyAccess(findings)
  const { workspace } = options
  return {
    name: service.name,
    command: service.command,
    env: serviceEnvironment({
      account: { name: user, home },
      inherited: options.inherited,
      ...(access === undefined ? {} : { proxy: access }),
      extra: {
        DISCOBOT_WORKSPACE_PATH: workspace.path,
        DISCOBOT_SESSION_ID: options.sessionId,
        ...service.env,
      },
    }),
    cwd: resolve(workspace.path, service.cwd ?? '.'),
    user,
    // A set-uid program must not make root of what a repository says.
    noNewPrivs: own || service.noNewPrivs,
    limits: service.limits,
    ...(service.logLevel === undefined ? {} : { logLevel: service.logLevel }),
    ...(service.oneshot ? { type: 'oneshot' } : {}),
    after: service.depends,
    readiness: service.readiness,
    readyTimeoutMs: service.readyTimeoutMs,
    ...(service.liveness === undefined ? {} : { liveness: service.liveness }),
    restart: service.restart,
    ...(service.giveUp === undefined ? {} : { giveUp: service.giveUp }),
    essential: service.essential,
    stopGraceMs: service.stopGraceMs,
  }
}
