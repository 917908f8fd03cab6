import { randomBytes } from 'node:crypto'
import type { Logger } from '../../base/log/logger.js'
import type { FileWatch } from '../../base/files/watch-file.js'
import type { AgentActions } from '../control/actions.js'
import type { ControlServer } from '../control/server.js'
import { chooseEngine, type EngineCandidates } from '../docker/engine.js'
import { planDocker, planRootless, readOwnStatus } from '../docker/plan.js'
import { rootfulRefusals } from '../docker/refusals.js'
import { restartWhenTrustChanged } from './findings/trust-change.js'
import { baseEnvironment, type Account as ServiceAccount, type Environment } from '../settings/environment.js'
import type { Clock } from '../process/clock.js'
import type { AgentOptions } from '../settings/options.js'
import type { Programs } from '../settings/programs.js'
import type { Account } from '../process/run-as.js'
import type { Supervisor } from '../services/supervisor.js'
import type { SessionOverlay } from '../overlay/session-overlay.js'
import { readAccount } from '../system/accounts.js'
import type { RunCommand } from '../system/command.js'
import { unsealClones } from '../workspace/clone-record.js'
import type { GitDeps } from '../workspace/with-git-access.js'
import { exposureOf } from '../wall/exposure.js'
import type { RunFilterProgram } from '../wall/filter-program.js'
import { NOTHING_FOUND } from '../wall/wall-findings.js'
import type { BootFindings } from './findings/findings.js'
import { watchOperatorFile } from './findings/operator-watch.js'
import { planned } from './plan.js'
import { stopGraces } from '../services/shutdown.js'
import type { BootStep } from '../status/step.js'
import { agentApiSteps } from './steps/agent-api.js'
import { caStep } from './steps/ca.js'
import { controlStep } from './steps/control.js'
import { dockerClientStep } from './steps/docker-client.js'
import { dockerdStep } from './steps/dockerd.js'
import { largeFilesStep, submodulesStep } from './steps/extras.js'
import { homeStep } from './steps/home.js'
import { linkStep } from './steps/link.js'
import { overlayStep } from './steps/overlay.js'
import { profileStep } from './steps/profile.js'
import {
  proxyConfigStep,
  writeProxyConfig,
  type EngineDecision,
  type ProxyConfigStepDeps,
} from './steps/proxy-config.js'
import { PROXY_USER, type ProxyBoot } from './steps/proxy.js'
import { trustStep } from './steps/trust.js'
import { planUserServices } from './steps/user-services.js'
import { planWall } from './steps/wall.js'
import { workspaceStep } from './steps/workspace.js'

/** What the steps are told from outside. */
export interface BootSettings {
  readonly options: AgentOptions
  readonly logger: Logger
  readonly clock: Clock
  readonly programs: Programs
  /** The account we run as. */
  readonly self: { readonly uid: number; readonly name: string }
  readonly cwd: string
}

export interface StepDeps extends BootSettings {
  /** Absent where there is to be no proxy. */
  readonly proxy?: ProxyBoot
  readonly supervisor: Supervisor
  readonly findings: BootFindings
  readonly run: RunCommand
  readonly runFilter: RunFilterProgram
  readonly actions: AgentActions
  /** Accounts and folders are there; called before the next step starts. */
  onHome(owner: Account | undefined): Promise<void>
  onControlStarted(server: ControlServer): void
}

export interface BootPlan {
  readonly steps: readonly BootStep[]
  /** Reads the configuration and the services' files again, and has what they say now taken up. */
  reload(): Promise<void>
  /** Once the boot is over: takes up what the operator's file says whenever it is saved. */
  follow(): Promise<void>
  /** Takes down what the steps put up and no service is, once the services have ended. Never rejects. */
  release(): Promise<void>
}

/**
 * All steps of a boot, in the order users see. What a mode or a setting rules out still has its place, and says so,
 * except what only a container has: overlay, link, profile and docker-client.
 */
export function planBoot(deps: StepDeps): BootPlan {
  const { options, logger, run, findings, supervisor, programs, clock, proxy } = deps
  const { data, inherited } = options
  const container = options.mode === 'container'
  const engines: EngineCandidates = {
    wanted: options.docker,
    rootful: planDocker(options, deps.self.uid, readOwnStatus()),
    rootless: planRootless(options, deps.self.uid, readOwnStatus()),
  }
  const mayRun = (kind: 'rootful' | 'rootless'): boolean =>
    engines[kind].run && (options.docker === 'auto' || options.docker === kind)
  const engine: EngineDecision = {
    decide: (refusals) => (findings.engine ??= chooseEngine(engines, refusals)),
    key: engines,
  }
  const graces = stopGraces(options)
  const controlToken = randomBytes(32).toString('base64url')
  const owner = accountLookup(options.user)
  const proxyUser = container ? PROXY_USER : undefined
  const proxyOwner = accountLookup(proxyUser)
  const account: ServiceAccount = { name: options.user ?? deps.self.name, home: options.home }

  let overlay: SessionOverlay | undefined

  const git: GitDeps = {
    options: options.workspace,
    runtimeDir: container ? '/run/discobot' : data.root,
    recordFile: data.clones,
    owner,
    env: commandEnvironment(account, inherited),
    run,
    logger,
    clock,
  }
  if (proxy === undefined) {
    const { kind } = engine.decide(rootfulRefusals(options))
    const exposure = exposureOf(options, kind === 'rootful')
    findings.wall = exposure === undefined ? NOTHING_FOUND : { ...NOTHING_FOUND, exposure }
  }
  const operatorSaid: NonNullable<ProxyConfigStepDeps['operatorSaid']> = {}
  const proxyConfig = { options, owner: proxyOwner, engine, logger, operatorSaid }
  const wall = planWall(
    { options, status: readOwnStatus(), proxyOwner, owner, run: deps.runFilter, logger },
    findings,
  )
  const steps: BootStep[] = [
    ...(proxy === undefined ? [] : [proxy.load]),
    followedBy(
      homeStep({ options, docker: mayRun('rootful'), rootless: mayRun('rootless'), run }, findings),
      async () => deps.onHome(await owner()),
    ),
    controlStep({
      socketPath: options.controlSocket,
      owner,
      logger,
      actions: deps.actions,
      token: controlToken,
      ownUid: deps.self.uid,
      onStarted: deps.onControlStarted,
    }),
    workspaceStep({ ...git, cwd: deps.cwd }, findings),
    ...(options.workspace.source === undefined
      ? []
      : [submodulesStep(git, findings), largeFilesStep(git, findings)]),
    ...(container
      ? [
          overlayStep(
            {
              options,
              logger,
              onMount: (one) => (overlay = one),
              onUncovered: () => unsealClones(data.clones),
            },
            findings,
          ),
        ]
      : []),
    ...(options.workspace.link === undefined
      ? []
      : [linkStep(options.workspace.link, options.workspace.path)]),
  ]
  if (proxy !== undefined) {
    steps.push(
      proxyConfigStep(proxyConfig, findings),
      caStep({ data, owner: proxyOwner, logger, now: () => clock.date().getTime() }),
      trustStep({ mode: options.mode, data, inherited, run, root: '' }, findings),
    )
  }
  steps.push(wall.step, ...(proxy === undefined ? [] : [proxy.start]))
  if (container) steps.push(profileStep('', findings), dockerClientStep({ options, owner }, findings))
  steps.push(
    dockerdStep({ options, stopGraceMs: graces.dockerd, supervisor, run, logger }, findings),
    ...agentApiSteps(
      {
        options,
        command: programs.agentApi,
        account,
        stopGraceMs: graces.agentApi,
        supervisor,
        logger,
        controlToken,
      },
      findings,
    ),
  )
  const userServices = container
    ? planUserServices({ options, account, supervisor, logger }, findings)
    : undefined
  if (userServices !== undefined) steps.push(userServices.step)
  const rereadProxy = async (): Promise<void> => {
    if (findings.proxyAnswers !== true) return
    // The ports in force stay those that everybody has been told.
    const read: BootFindings = {}
    try {
      await writeProxyConfig(proxyConfig, read)
    } finally {
      supervisor.signal('proxy', 'SIGHUP')
      // What has become a secret is withheld from all that is started from now on.
      const secret = new Set([...(findings.secretVariables ?? []), ...(read.secretVariables ?? [])])
      findings.secretVariables = [...secret]
      if (read.wall !== undefined) findings.wall = read.wall
      if (read.configuration !== undefined) findings.configuration = read.configuration
      await wall.followConfiguration()
    }
  }
  // A save and a reload at the same time would write one file between them.
  let reads = Promise.resolve()
  const reloadProxy = (): Promise<void> => {
    const mine = reads.then(rereadProxy)
    reads = mine.catch(() => undefined)
    return mine
  }
  let watch: FileWatch | undefined
  let released = false
  return {
    steps: planned(steps, absentSteps(deps)),
    follow: async () => {
      const { proxyConfig: file } = options
      if (file === undefined || findings.proxyAnswers !== true) return
      const seen = (): string | undefined => operatorSaid.stamp
      const begun = await watchOperatorFile({ file, findings, seen, takeUp: reloadProxy, logger })
      if (released) begun.close()
      else watch = begun
    },
    release: async () => {
      released = true
      watch?.close()
      overlay?.release()
      await wall.release()
    },
    reload: async () => {
      try {
        await reloadProxy()
      } finally {
        await Promise.all([restartWhenTrustChanged(findings, supervisor, logger), userServices?.reload()])
      }
    },
  }
}

/** Before whatever needs the step is started. */
function followedBy(step: BootStep, next: () => Promise<void>): BootStep {
  return {
    ...step,
    run: async (signal) => {
      const remark = await step.run(signal)
      await next()
      return remark
    },
  }
}

/** What {@link planBoot} leaves out, so that nothing waits for it. Every condition there has its line here. */
function absentSteps({ options, proxy }: StepDeps): string[] {
  return [
    ...(proxy === undefined ? ['proxy-load', 'proxy-config', 'ca', 'trust', 'proxy'] : []),
    ...(options.workspace.source === undefined ? ['submodules', 'lfs'] : []),
    ...(options.workspace.link === undefined ? ['link'] : []),
    ...(options.mode === 'container' ? [] : ['overlay', 'profile', 'docker-client', 'services']),
    // A command of the operator's has nothing to read ahead.
    ...(options.agentCommand === undefined ? [] : ['agent-api-load']),
  ]
}

function accountLookup(name: string | undefined): () => Promise<Account | undefined> {
  return () => (name === undefined ? Promise.resolve(undefined) : readAccount('', name))
}

/** How the outside is reached before our own proxy runs, and whose ssh agent may be asked. */
const PASSED_TO_COMMANDS =
  /^(https?_proxy|all_proxy|no_proxy|ssl_cert_file|ssl_cert_dir|git_ssl_cainfo|ssh_auth_sock|tmpdir)$/i

function commandEnvironment(account: ServiceAccount, inherited: Environment): Environment {
  const passed = Object.entries(inherited).filter(([name]) => PASSED_TO_COMMANDS.test(name))
  return { ...baseEnvironment(account, inherited), ...Object.fromEntries(passed) }
}
