import { unattended } from '../base/process/entry.js'
import { reasonOf } from '../base/errors.js'
import type { Logger } from '../base/log/logger.js'
import { giveMemoryBack, keepHeapSmall } from '../base/process/small-heap.js'
import { BootInterruptedError } from './boot/errors.js'
import type { BootFindings } from './boot/findings/findings.js'
import { runBoot } from './boot/graph.js'
import type { StepStatus } from './status/step.js'
import { STOP_ORDER } from './services/shutdown.js'
import type { BootSettings } from './boot/steps.js'
import { planProxy } from './boot/steps/proxy.js'
import type { CommandInFront, CommandSurroundings } from './command/command-in-front.js'
import { describeEngine } from './docker/engine.js'
import { findServiceGroups, noServiceGroups } from './cgroups/service-groups.js'
import type { ServiceVerb } from './control/actions.js'
import type { ControlServer } from './control/server.js'
import type { AgentPhase, AgentStatus } from './status/status.js'
import { ChildRegistry } from './process/children.js'
import { Faults } from './process/faults.js'
import { startReaper } from './process/reaper.js'
import { handleSignals } from './process/signals.js'
import { keptLogger } from './logs/kept-logger.js'
import { LogFiles } from './logs/log-files.js'
import { LogStore } from './logs/log-store.js'
import type { ServiceStatus } from './services/spec.js'
import { Supervisor } from './services/supervisor.js'
import { listZombies } from './process/zombies.js'
import { filterProgramRunner } from './wall/filter-program.js'
import { wallOf, withheldLine, type Wall } from './wall/wall.js'
import { commandRunner } from './system/command.js'

export interface RunDeps extends BootSettings {
  readonly version: string
  /** Writes to the terminal what is for a person and no log line. */
  readonly print: (text: string) => void
  /** A person reads at a terminal, and not a log. */
  readonly terminal: boolean
  /** Of that terminal. */
  readonly columns: number
  /** The terminal takes colours. */
  readonly colour: boolean
  /** How this program is called. */
  readonly command: string
  /** What the user wants to run in front of all this. */
  readonly inFront?: (surroundings: CommandSurroundings) => CommandInFront
}

/**
 * The life of the agent: boot, supervise, stop. Resolves with the exit code when nothing of it runs any more:
 * 0 after a requested stop, else the code of the essential service that failed, or 1 when the boot did; with a command
 * in front, that one's.
 */
export async function runAgent(deps: RunDeps): Promise<number> {
  const { options, clock } = deps
  const files = new LogFiles({
    folder: options.data.logsDir,
    format: options.log.format,
    maxBytes: options.log.fileBytes,
    files: options.log.files,
    clock,
    onTrouble: (reason) => {
      if (reason === undefined) logger.info({}, 'log lines are kept on disk again')
      else logger.warn({ reason }, 'log lines are not kept on disk')
    },
  })
  const logs = new LogStore({
    maxBytesPerService: LOG_BYTES_PER_SERVICE,
    keep: (entry) => files.keep(entry),
  })
  const logger = keptLogger(deps.logger, logs, clock)
  const startedAt = clock.now()
  const over = new End()
  const faults = new Faults(logger)
  const children = new ChildRegistry()
  const reaper = startReaper({ children, clock, logger, subreaper: true })
  // On somebody's own machine nothing outside of the data dir is touched.
  const groups = options.mode === 'container' ? findServiceGroups() : noServiceGroups('not a container')
  const supervisor = new Supervisor({
    logger,
    clock,
    children,
    groups,
    faults,
    onEssentialFailure: ({ service, reason, exitCode }) => {
      logger.error({ service, reason, exitCode }, 'the container ends with its essential service')
      over.come(exitCode)
    },
  })
  let reload = (): Promise<void> => Promise.resolve()
  let release = (): Promise<void> => Promise.resolve()
  const inFront = deps.inFront?.({ children, logger, end: (exitCode) => over.come(exitCode) })
  const removeHandlers = listen({
    over,
    supervisor,
    logger,
    faults,
    ...(inFront === undefined ? {} : { inFront }),
    reload: () => reload(),
  })
  const findings: BootFindings = {}
  const proxy =
    options.proxy === 'on'
      ? planProxy({ options, command: deps.programs.proxy, self: deps.self, supervisor, logger }, findings)
      : undefined
  // First of all: its process reads its modules while we read the rest of ours.
  proxy?.loadNow()
  const { fetchPreload } = deps.programs
  if (fetchPreload !== undefined) findings.fetchPreload = fetchPreload
  let phase: AgentPhase = 'booting'
  let steps: readonly StepStatus[] = []
  let control: ControlServer | undefined
  const wall = (): Wall | undefined =>
    findings.wall && wallOf(options, findings.wall, findings.proxyAnswers === true, findings.enforcement)
  const status = (): AgentStatus => ({
    version: deps.version,
    pid: process.pid,
    uptimeMs: Math.round(clock.now() - startedAt),
    phase,
    boot: steps,
    services: supervisor.status(),
    reaper: reaper.status(),
    zombies: listZombies(options.mode === 'container'),
    ...wallPart(wall()),
    ...enginePart(findings),
    ...configurationPart(findings),
    degraded: [
      ...options.problems,
      ...degradedSteps(steps, findings),
      ...withheld(wall()),
      ...lostLines(files),
      ...faults.describe(),
    ],
    extra: {
      mode: options.mode,
      session: options.sessionId,
      dataDir: options.data.root,
      cgroups: groups.description,
      // Otherwise what a command or terminal leaves behind is found by the mark in its environment alone.
      commandGroups: groups.delegationOf('agent-api'),
    },
  })

  for (const problem of options.problems) logger.warn({ problem }, 'a setting cannot be used')
  try {
    const { planBoot } = await import('./boot/steps.js')
    const plan = planBoot({
      ...deps,
      ...(proxy === undefined ? {} : { proxy }),
      supervisor,
      findings,
      logger,
      run: commandRunner(children),
      runFilter: filterProgramRunner(children),
      actions: {
        logs,
        status,
        guards: (name) => supervisor.guards(name),
        change: (name, verb, signal) => change(supervisor, name, verb, signal),
        signal: (signal, name) =>
          name === undefined ? process.kill(process.pid, signal) : supervisor.signal(name, signal),
        reload: () => reload(),
      },
      onHome: (owner) => files.begin(owner?.gid),
      onControlStarted: (server) => (control = server),
    })
    ;({ reload, release } = plan)
    // Not earlier: what modules make stays, and a small young generation copies it again and again, for 20 ms.
    keepHeapSmall()
    const boot = await runBoot(plan.steps, {
      logger,
      clock,
      signal: over.signal,
      onChange: (now) => (steps = now),
      timelineFollows: deps.terminal && options.log.format === 'text',
    })
    phase = 'running'
    unattended(logger, "watch of the operator's file", plan.follow())
    giveMemoryBack()
    const { colour, columns, command, terminal: timeline } = deps
    const { renderWelcome, suggestions } = await import('./cli/welcome.js')
    if (inFront !== undefined) unattended(logger, "the user's command", inFront.run(findings))
    // Whoever parses the log line by line is not to meet a text for people among them.
    else if (options.log.format === 'json')
      logger.info(
        { ms: boot.tookMs, degraded: boot.degraded, next: suggestions(options, findings, command) },
        'Discobot is up',
      )
    else
      deps.print(
        renderWelcome({
          options,
          findings,
          steps: boot.steps,
          tookMs: boot.tookMs,
          colour,
          columns,
          timeline,
          self: command,
        }),
      )
  } catch (error) {
    if (!(error instanceof BootInterruptedError)) {
      logger.error({ reason: reasonOf(error) }, 'the boot failed')
      over.come(BOOT_FAILED)
    }
  }

  // Between two services nothing else may hold the event loop, and it must not end before we do.
  const keepAlive = setInterval(() => undefined, 60_000)
  const exitCode = await over.comes
  clearInterval(keepAlive)
  phase = 'stopping'
  const stopBegan = clock.now()
  await inFront?.end()
  const report = await supervisor.stopAll({
    order: STOP_ORDER[options.shutdownOrder],
    deadlineMs: Math.max(0, options.stopTimeoutMs - (clock.now() - stopBegan)),
  })
  await control?.close()
  await release()
  groups.remove()
  reaper.stop()
  logger.info({ exitCode, ms: report.tookMs, killed: report.killed.join(', ') || 'none' }, 'stopped')
  await files.close()
  // Last of all: a fault that shows before does not change how it ended.
  removeHandlers()
  return exitCode
}

const BOOT_FAILED = 1
/** Some 1,500 lines of 20 words. */
const LOG_BYTES_PER_SERVICE = 512 * 1024

async function change(
  supervisor: Supervisor,
  name: string,
  verb: ServiceVerb,
  signal: AbortSignal,
): Promise<ServiceStatus> {
  switch (verb) {
    case 'start':
      await supervisor.start(name, signal)
      break
    case 'stop':
      await supervisor.stop(name)
      break
    case 'restart':
      await supervisor.restart(name, signal)
      break
  }
  return supervisor.statusOf(name)
}

/** The one reason why all of this ends: the first that comes decides the exit code. */
class End {
  readonly comes: Promise<number>
  readonly #controller = new AbortController()
  #resolve: (exitCode: number) => void = () => undefined

  constructor() {
    this.comes = new Promise((resolve) => (this.#resolve = resolve))
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  come(exitCode: number): void {
    this.#resolve(exitCode)
    this.#controller.abort()
  }
}

interface Listening {
  readonly over: End
  readonly supervisor: Supervisor
  readonly logger: Logger
  readonly faults: Faults
  readonly inFront?: CommandInFront
  reload(): Promise<void>
}

/** @returns removes the handlers again. */
function listen({ over, supervisor, logger, faults, inFront, reload }: Listening): () => void {
  const toService = (name: string, signal: NodeJS.Signals): void => {
    const known = supervisor.status().some((service) => service.name === name)
    if (!known || !supervisor.signal(name, signal))
      logger.info({ signal, service: name }, 'signal has no taker')
  }
  const removeSignals = handleSignals({
    logger,
    ...(inFront === undefined ? {} : { takes: (signal) => inFront.takes(signal) }),
    onStop: (signal) => {
      if (inFront === undefined) over.come(0)
      else unattended(logger, "the user's command", inFront.stop(signal))
    },
    onHurry: () => {
      inFront?.kill()
      supervisor.hurry()
    },
    onKill: () => {
      inFront?.kill()
      supervisor.killNow()
    },
    onReload: () => {
      reload().then(
        () => logger.info({}, 'configuration read again'),
        (error: unknown) => logger.warn({ reason: reasonOf(error) }, 'reload with problems'),
      )
    },
    forward: (signal) => toService('agent-api', signal),
  })
  // Rejections that nobody handles come here too. The state that counts is the kernel's and that of each service's own
  // loop, and an exception has left one callback of one of them; so all goes on (docs/architecture.md).
  const onDefect = (error: unknown): void => faults.report(error, 'an event that nobody expected')
  process.on('uncaughtException', onDefect)
  return () => {
    removeSignals()
    process.off('uncaughtException', onDefect)
  }
}

function wallPart(wall: Wall | undefined): Pick<AgentStatus, 'wall'> {
  return wall === undefined ? {} : { wall }
}

function enginePart({ engine, engineLimits }: BootFindings): Pick<AgentStatus, 'engine'> {
  return engine === undefined ? {} : { engine: describeEngine(engine, engineLimits) }
}

function configurationPart({ configuration, proxy }: BootFindings): Pick<AgentStatus, 'configuration'> {
  if (configuration === undefined) return {}
  return { configuration: { ...configuration, ...(proxy && { port: proxy.port, apiPort: proxy.apiPort }) } }
}

function withheld(wall: Wall | undefined): string[] {
  const line = wall && withheldLine(wall)
  return line === undefined ? [] : [line]
}

function lostLines({ trouble }: LogFiles): string[] {
  return trouble === undefined ? [] : [`logs: lines are not kept on disk: ${trouble}; make room for them`]
}

/** The configuration may have been mended, or broken, since its step ended: what is in force now counts. */
function degradedSteps(
  steps: readonly StepStatus[],
  { configuration, operatorReplaced }: BootFindings,
): string[] {
  const others = steps
    .filter(({ name, state }) => state === 'degraded' && !(name === 'proxy-config' && configuration))
    .map(({ name, note }) => `${name}: ${note ?? 'failed'}`)
  const now = [configuration?.trouble, operatorReplaced].filter((line) => line !== undefined)
  return [...others, ...now.map((line) => `proxy-config: ${line}`)]
}
