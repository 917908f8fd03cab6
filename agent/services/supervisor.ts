import { setMaxListeners } from 'node:events'
import { readFileSync } from 'node:fs'
import { unattended } from '../../base/process/entry.js'
import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import type { ServiceGroups } from '../cgroups/service-groups.js'
import type { ChildRegistry } from '../process/children.js'
import type { Clock } from '../process/clock.js'
import { Faults } from '../process/faults.js'
import { endedWell, failureExitCode, type ProcessEnd } from '../process/exit-code.js'
import { ServiceSpecError, ServiceStartError, UnknownServiceError } from './errors.js'
import type { GroupEnd } from './process.js'
import { OutputBudget } from './output-budget.js'
import { probeMistake } from './probe-mistake.js'
import { DEFAULT_RESTART_POLICY, type RestartPolicy } from './restart-policy.js'
import type { RunAsDeps } from '../process/run-as.js'
import { Service, type ServiceEnding } from './service.js'
import type { ServiceSpec, ServiceStatus } from './spec.js'
import { stopLevels, type StopOrder } from './stop-order.js'

export interface SupervisorDeps {
  readonly logger: Logger
  readonly clock: Clock
  readonly children: ChildRegistry
  /** An essential service ended for good without being told to: the container is over. */
  onEssentialFailure(failure: EssentialFailure): void
  readonly policy?: RestartPolicy
  /** In [0, 1); spreads restarts. */
  readonly random?: () => number
  readonly runAs?: RunAsDeps
  /** Without them what a service leaves behind is found by the mark in its environment alone. */
  readonly groups?: ServiceGroups
  readonly faults?: Faults
}

export interface EssentialFailure {
  readonly service: string
  readonly reason: string
  readonly end: ProcessEnd | undefined
  /** What the container should end with: 0 only when the service ended with 0 and was allowed to. */
  readonly exitCode: number
}

interface StopOptions {
  /** `reverse` unless given: whatever needs a service stops before it. */
  readonly order?: StopOrder
  /** For all of it; then everything left is killed at once. */
  readonly deadlineMs: number
}

interface StopReport {
  readonly tookMs: number
  /** Services that had to be killed. */
  readonly killed: readonly string[]
  /** Services of which something could not even be killed. */
  readonly left: readonly string[]
}

/** How often the log names what is still running. */
const REMIND_EVERY_MS = 1_000
/** Each one below it is opened as well. */
const MAX_READY_FD = 9
const NAME = /^[a-z0-9][a-z0-9-]*$/

/** All services: started when what they need is ready, stopped in the opposite order. */
export class Supervisor {
  readonly #deps: SupervisorDeps
  readonly #faults: Faults
  readonly #output: OutputBudget
  readonly #runId = uniqueName()
  readonly #services = new Map<string, Service>()
  /** Services whose start waits, and for which other one. */
  readonly #needs = new Map<string, string>()
  #stopping: Promise<StopReport> | undefined
  readonly #deadline = new AbortController()
  #deadlineAt = 0
  /** Of the deadline: a second signal may come while a boot is still being ended. */
  #share = 1
  #rearm = new AbortController()

  constructor(deps: SupervisorDeps) {
    this.#deps = deps
    this.#faults = deps.faults ?? new Faults(deps.logger)
    this.#output = new OutputBudget(deps.clock)
    // Every service that is being stopped listens, and there may be any number of them.
    setMaxListeners(0, this.#deadline.signal)
  }

  /**
   * What a service comes `after` must have been added before it, so there cannot be a cycle.
   *
   * @throws ServiceSpecError when the name is malformed or taken, or `after` or the readiness is wrong.
   */
  add(spec: ServiceSpec): void {
    this.#check(spec)
    const { logger, clock, children, policy, random, runAs, groups } = this.#deps
    const group = groups?.groupOf(spec.name)
    const service = new Service(Object.freeze({ ...spec }), {
      logger,
      clock,
      children,
      policy: { ...(policy ?? DEFAULT_RESTART_POLICY), ...spec.giveUp },
      random: random ?? Math.random,
      ...(runAs === undefined ? {} : { runAs }),
      ...(group === undefined ? {} : { group }),
      output: this.#output.share(),
      runId: this.#runId,
      onEnded: (ending) => this.#onEnded(spec, ending),
      onFault: (error) => this.#faults.report(error, `service ${spec.name}`),
    })
    this.#services.set(spec.name, service)
  }

  /**
   * Resolves when the service is ready. Rejects at the first attempt that fails, although the service goes on
   * trying in the background if its restart rule says so: `stop` it if that is not wanted.
   *
   * @throws ServiceStartError when it does not get ready, something it comes after is not ready, everything
   *   is being stopped, or `signal` aborted (which ends the waiting, not the service).
   * @throws UnknownServiceError
   */
  async start(name: string, signal?: AbortSignal): Promise<void> {
    const service = this.#find(name)
    for (const needed of service.spec.after) {
      const { state } = this.#find(needed)
      if (state === 'starting') await this.#waitFor(needed, name, signal)
      else if (state !== 'ready') throw new ServiceStartError(name, `it needs ${needed}, which is ${state}`)
    }
    if (this.#stopping !== undefined) throw new ServiceStartError(name, 'everything is being stopped')
    service.spec.sockets?.resume()
    await service.start(signal)
  }

  /**
   * Resolves when nothing of the service runs any more. What comes after it is left alone.
   *
   * @throws UnknownServiceError
   */
  async stop(name: string): Promise<GroupEnd> {
    const service = this.#find(name)
    const end = await service.stop(this.#deadline.signal)
    await service.spec.sockets?.refuse()
    return end
  }

  /**
   * `stop`, and then it is as if it had never been added. With `left` something of it still runs all the same.
   *
   * @throws UnknownServiceError
   */
  async remove(name: string): Promise<GroupEnd> {
    const service = this.#find(name)
    const end = await service.stop(this.#deadline.signal)
    this.#services.delete(name)
    service.spec.sockets?.close()
    return end
  }

  /** `stop`, then `start`, with their errors; earlier failures are forgotten. */
  async restart(name: string, signal?: AbortSignal): Promise<void> {
    await this.#find(name).stop(this.#deadline.signal)
    // Whoever has left meanwhile does not wait any more; that is no reason to leave the service stopped.
    await this.start(name, signal?.aborted === true ? undefined : signal)
  }

  /**
   * Signals the service's own process, not its group. False when it does not run.
   *
   * @throws UnknownServiceError
   */
  signal(name: string, signal: NodeJS.Signals): boolean {
    return this.#find(name).signal(signal)
  }

  /** Whether the workspace's account may not change it. */
  guards(name: string): boolean {
    return this.#services.get(name)?.spec.guards === true
  }

  /** @throws UnknownServiceError */
  statusOf(name: string): ServiceStatus {
    return this.#find(name).status(this.#needs.get(name))
  }

  /** In the order they were added. */
  status(): ServiceStatus[] {
    return [...this.#services.keys()].map((name) => this.statusOf(name))
  }

  /**
   * Stops everything, level by level, and for good: nothing can be started after this. Resolves when all of
   * it has ended or cannot be killed. A second call waits for the first.
   */
  stopAll(options: StopOptions): Promise<StopReport> {
    this.#stopping ??= this.#stopEverything(options)
    return this.#stopping
  }

  /** Halves what is left of the deadline, or will be when everything is being stopped. */
  hurry(): void {
    if (this.#stopping === undefined) this.#share /= 2
    const now = this.#deps.clock.now()
    if (this.#deadlineAt > now) this.#setDeadline(now + (this.#deadlineAt - now) / 2)
  }

  /** Ends the deadline now: what still runs is killed. */
  killNow(): void {
    this.#deadline.abort()
  }

  async #waitFor(needed: string, name: string, signal: AbortSignal | undefined): Promise<void> {
    this.#needs.set(name, needed)
    try {
      await this.#find(needed).start(signal)
    } finally {
      this.#needs.delete(name)
    }
  }

  async #stopEverything({ order, deadlineMs }: StopOptions): Promise<StopReport> {
    const { clock, logger } = this.#deps
    const startedAt = clock.now()
    const killed: string[] = []
    const left: string[] = []
    const done = new AbortController()
    const running = new Set<string>()
    this.#setDeadline(startedAt + deadlineMs * this.#share)
    unattended(logger, 'reminder', this.#remind(running, done.signal))

    const specs = [...this.#services.values()].map((service) => service.spec)
    for (const level of stopLevels(specs, order ?? 'reverse')) {
      await Promise.all(
        level.map(async (name) => {
          const service = this.#find(name)
          const stoppedAt = clock.now()
          const ran = service.status().pid !== undefined
          running.add(name)
          // An error here must not keep the others from their turn.
          const how = await service.stop(this.#deadline.signal).catch((error: unknown) => {
            this.#faults.report(error, `service ${name}`)
            return 'left' as const
          })
          running.delete(name)
          if (how === 'killed') killed.push(name)
          if (how === 'left') left.push(name)
          const ms = Math.round(clock.now() - stoppedAt)
          if (ran || how !== 'ended') logger.info({ service: name, how, ms }, 'service stopped')
        }),
      )
    }
    for (const { sockets } of specs) sockets?.close()
    done.abort()
    this.#rearm.abort()
    this.#deadlineAt = 0
    return { tookMs: Math.round(clock.now() - startedAt), killed, left }
  }

  #setDeadline(at: number): void {
    const { clock, logger } = this.#deps
    this.#rearm.abort()
    const rearm = new AbortController()
    this.#rearm = rearm
    this.#deadlineAt = at
    const passed = clock.sleep(at - clock.now(), rearm.signal).then(() => {
      if (rearm.signal.aborted) return
      logger.warn({}, 'the deadline has passed: killing what still runs')
      this.#deadline.abort()
    })
    unattended(logger, 'deadline', passed)
  }

  async #remind(running: ReadonlySet<string>, done: AbortSignal): Promise<void> {
    const { clock, logger } = this.#deps
    for (;;) {
      await clock.sleep(REMIND_EVERY_MS, done)
      if (done.aborted) return
      const leftMs = Math.max(0, Math.round(this.#deadlineAt - clock.now()))
      logger.info({ running: [...running].join(', '), leftMs }, 'still stopping')
    }
  }

  #onEnded(spec: ServiceSpec, { failed, end, reason }: ServiceEnding): void {
    spec.sockets?.refuse().catch((error: unknown) => {
      this.#deps.logger.warn({ service: spec.name, reason: reasonOf(error) }, 'who connects is not refused')
    })
    if (!spec.essential || this.#stopping !== undefined) return
    const exitCode = !failed && end !== undefined && endedWell(end) ? 0 : failureExitCode(end)
    this.#deps.onEssentialFailure({ service: spec.name, reason, end, exitCode })
  }

  #check(spec: ServiceSpec): void {
    const { name, after, readiness, restart, liveness } = spec
    const refuse = (reason: string): never => {
      throw new ServiceSpecError(name, reason)
    }
    if (!NAME.test(name)) refuse('a name is lower-case letters, digits and dashes')
    if (this.#services.has(name)) refuse('there is one of that name already')
    const unknown = after.find((needed) => !this.#services.has(needed))
    if (unknown !== undefined) refuse(`it comes after ${JSON.stringify(unknown)}, which is not there`)
    if (
      spec.type === 'oneshot' &&
      (restart === 'always' || readiness.kind !== 'started' || liveness !== undefined)
    ) {
      refuse(
        'a oneshot is ready when it has ended well: it has no readiness, no liveness, and no restart "always"',
      )
    }
    if (readiness.kind === 'newline' && !(readiness.fd >= 3 && readiness.fd <= MAX_READY_FD)) {
      refuse(`a newline is awaited on a descriptor from 3 to ${MAX_READY_FD}`)
    }
    const asked = readiness.kind === 'started' || readiness.kind === 'newline' ? [] : [readiness]
    for (const probe of liveness === undefined ? asked : [...asked, liveness.probe]) {
      const mistake = probeMistake(probe)
      if (mistake !== undefined) refuse(mistake.message)
    }
  }

  #find(name: string): Service {
    const service = this.#services.get(name)
    if (service === undefined) throw new UnknownServiceError(name, [...this.#services.keys()])
    return service
  }
}

/** The kernel's, of this run: node:crypto takes a start 3 ms to bring in, before the first process is started. */
function uniqueName(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/uuid', 'utf8').trim()
  } catch {
    // Nor can stragglers be found by it then.
    return `${process.pid}-${Date.now()}`
  }
}
