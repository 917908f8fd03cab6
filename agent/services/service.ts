import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import type { ServiceGroup } from '../cgroups/service-group.js'
import type { ChildRegistry } from '../process/children.js'
import type { Clock } from '../process/clock.js'
import { describeEnd, endedWell, type ProcessEnd } from '../process/exit-code.js'
import { runAttempt, type Attempt } from './attempt.js'
import { ServiceStartError } from './errors.js'
import type { OutputShare } from './output-budget.js'
import type { GroupEnd, ServiceProcess } from './process.js'
import { describeReadiness } from './readiness.js'
import { FailureHistory, type RestartPolicy } from './restart-policy.js'
import type { RunAsDeps } from '../process/run-as.js'
import type { ServiceSpec, ServiceState, ServiceStatus } from './spec.js'
import { findMarked, killStragglers } from '../process/stragglers.js'
import { transition, type ServiceEvent } from './state.js'

interface ServiceDeps {
  readonly children: ChildRegistry
  readonly clock: Clock
  readonly logger: Logger
  readonly policy: RestartPolicy
  /** In [0, 1), as `Math.random`. */
  readonly random: () => number
  readonly runAs?: RunAsDeps
  readonly group?: ServiceGroup
  readonly output: OutputShare
  /** Tells the processes of this agent from those of another one. */
  readonly runId: string
  /** The service ended without being told to, and stays ended. */
  onEnded(ending: ServiceEnding): void
  /** An error that is nobody's but ours; the service ends with it, and nothing else does. */
  onFault(error: unknown): void
}

export interface ServiceEnding {
  readonly failed: boolean
  /** Of its last process, when there was one. */
  readonly end: ProcessEnd | undefined
  readonly reason: string
}

/** These reasons not to start pass by themselves; any other will be the same in half a second. */
const PASSING_ERRORS: ReadonlySet<string> = new Set(['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM'])

/**
 * A service: spawned, asked until it is ready, started again when it ends, stopped when told to.
 *
 * One loop is its life from a start to a stop. No timer and no event outside of that loop can start a
 * process, so a service that was stopped while starting or backing off cannot come back.
 */
export class Service {
  readonly spec: ServiceSpec
  readonly #deps: ServiceDeps
  readonly #marker: string
  readonly #failures: FailureHistory
  #state: ServiceState = 'stopped'
  #since: Date
  #restarts = 0
  #lastExit: string | undefined
  #reason: string | undefined
  #given = false
  #process: ServiceProcess | undefined
  #life: Promise<void> | undefined
  #ending: Promise<GroupEnd> | undefined
  #stopped = new AbortController()
  #killNow = new AbortController()
  #pauseOver = new AbortController()
  #waiting: ((failure?: ServiceStartError) => void)[] = []

  constructor(spec: ServiceSpec, deps: ServiceDeps) {
    this.spec = spec
    this.#deps = deps
    this.#marker = `${spec.name}/${deps.runId}`
    this.#failures = new FailureHistory(deps.policy, deps.random)
    this.#since = deps.clock.date()
    spec.handover?.given.then(
      () => (this.#given = true),
      () => undefined,
    )
  }

  get state(): ServiceState {
    return this.#state
  }

  /** @param needs a service that has to be ready before this one is started. */
  status(needs?: string): ServiceStatus {
    const waitsFor = needs ?? this.#waitsFor()
    const pid = this.#process?.isLeaderAlive === true ? this.#process.pid : undefined
    return {
      name: this.spec.name,
      state: this.#state,
      ...(pid === undefined ? {} : { pid }),
      since: this.#since.toISOString(),
      restarts: this.#restarts,
      ...(this.#lastExit === undefined ? {} : { lastExit: this.#lastExit }),
      ...(this.#reason === undefined ? {} : { reason: this.#reason }),
      ...(waitsFor === undefined ? {} : { waitsFor }),
      ...(this.spec.essential ? { essential: true } : {}),
    }
  }

  #waitsFor(): string | undefined {
    const { readiness, type, handover } = this.spec
    switch (this.#state) {
      case 'starting':
        if (type === 'oneshot') return 'its end'
        if (handover !== undefined && !this.#given) return 'what it is to be given'
        return describeReadiness(readiness)
      case 'stopping':
        return 'the end of its processes'
      case 'backing-off':
        return 'the next start'
      case 'stopped':
      case 'ready':
      case 'failed':
        return undefined
    }
  }

  /**
   * Resolves when the service is ready; at once if it is. Cuts the pause before a restart short. After a
   * rejection the service may go on trying, by its restart policy, until it is stopped.
   *
   * @throws ServiceStartError when the next attempt fails or the service is stopped; also when `signal`
   *   aborts, which ends the waiting and not the service.
   */
  async start(signal?: AbortSignal): Promise<void> {
    if (this.#ending !== undefined) throw this.#startError('it is being stopped')
    if (signal?.aborted === true) throw this.#startError('the start was called off')
    if (this.#state === 'ready') return
    const ready = this.#untilSettled(signal)
    if (this.#life === undefined) {
      this.#failures.clear()
      this.#stopped = new AbortController()
      this.#killNow = new AbortController()
      this.#life = this.#live()
        .catch((error: unknown) => this.#endFaulty(error))
        .finally(() => {
          this.#life = undefined
          this.#settle(this.#startError('it has ended'))
        })
    } else {
      this.#pauseOver.abort()
    }
    await ready
  }

  /**
   * SIGTERM to the group, the spec's grace or until `killNow` aborts, SIGKILL; then whatever has left the
   * group. Resolves when nothing of the service runs any more. Safe in every state, and twice.
   */
  async stop(killNow?: AbortSignal): Promise<GroupEnd> {
    const kill = (): void => this.#killNow.abort()
    const listening = new AbortController()
    killNow?.addEventListener('abort', kill, { once: true, signal: listening.signal })
    if (killNow?.aborted === true) kill()
    try {
      this.#ending ??= this.#end().finally(() => (this.#ending = undefined))
      return await this.#ending
    } finally {
      listening.abort()
    }
  }

  /** Signals the leader of the group. False when nothing runs. */
  signal(signal: NodeJS.Signals): boolean {
    return this.#process?.signal(signal) ?? false
  }

  async #live(): Promise<void> {
    const { clock } = this.#deps
    const stopped = this.#stopped.signal
    for (;;) {
      this.#pauseOver = new AbortController()
      this.#enter('start')
      const attempt = await this.#attempt()
      if (stopped.aborted) break
      const next = this.#decide(attempt)
      await this.#clearGroup()
      if (next.kind === 'over') {
        if (!stopped.aborted) this.#deps.onEnded(next.ending)
        return
      }
      if (!stopped.aborted) await clock.sleep(next.delayMs, this.#pauseOver.signal)
      if (stopped.aborted) break
      this.#restarts += 1
    }
    this.#enter('stop')
  }

  /** Whatever of it runs is ended, and it is not started again: what failed once by a mistake of ours will again. */
  async #endFaulty(error: unknown): Promise<void> {
    const reason = `a fault of the agent itself: ${reasonOf(error)}`
    this.#deps.onFault(error)
    const stopped = this.#stopped.signal.aborted
    try {
      await this.#process?.end(this.spec.stopGraceMs, this.#killNow.signal)
    } catch (another) {
      this.#deps.onFault(another)
    }
    // Not by a transition: nobody knows which of them have been taken.
    this.#state = stopped ? 'stopping' : 'failed'
    this.#since = this.#deps.clock.date()
    this.#reason = reason
    this.#settle(this.#startError(reason))
    if (!stopped) this.#deps.onEnded({ failed: true, end: undefined, reason })
  }

  #attempt(): Promise<Attempt> {
    return runAttempt(this.spec, {
      ...this.#deps,
      marker: this.#marker,
      stopped: this.#stopped.signal,
      killNow: this.#killNow.signal,
      onSpawned: (process) => (this.#process = process),
      onReady: () => {
        this.#enter('ready')
        this.#settle()
      },
    })
  }

  /** What follows from the end of a process, by the spec's restart rule and the failures so far. */
  #decide(
    attempt: Attempt,
  ):
    | { readonly kind: 'over'; readonly ending: ServiceEnding }
    | { readonly kind: 'retry'; readonly delayMs: number } {
    if (attempt.kind === 'stopped') throw new Error('a stopped attempt has no consequences')
    const { end } = attempt
    if (end !== undefined) this.#lastExit = describeEnd(end)
    const readyForMs = attempt.kind === 'ended' ? attempt.readyForMs : 0
    const why = attempt.reason ?? (end === undefined ? 'it cannot be ended' : describeEnd(end))
    if (attempt.kind === 'not-ready') this.#settle(this.#startError(attempt.reason, end))

    const { restart, name } = this.spec
    const well =
      attempt.kind === 'ended' && attempt.reason === undefined && end !== undefined && endedWell(end)
    if (well && restart !== 'always') {
      this.#enter('finish', why)
      return { kind: 'over', ending: { failed: false, end, reason: why } }
    }
    const hopeless = end?.kind === 'not-started' && !PASSING_ERRORS.has(end.code)
    const delayMs =
      restart === 'never' || hopeless ? undefined : this.#failures.record(this.#deps.clock.now(), readyForMs)
    if (delayMs === undefined) {
      const reason = restart === 'never' || hopeless ? why : `failed too often; at last: ${why}`
      this.#enter('give-up', reason)
      this.#deps.logger.error({ service: name, reason }, 'service failed')
      return { kind: 'over', ending: { failed: true, end, reason } }
    }
    const ms = Math.round(delayMs)
    this.#enter('retry', `${why}; next start in ${ms} ms`)
    this.#deps.logger.warn({ service: name, reason: why, ms }, 'service ended, will start again')
    return { kind: 'retry', delayMs }
  }

  /** Two generations of one service must never run side by side: they share ports, locks and files. */
  async #clearGroup(): Promise<void> {
    const { logger } = this.#deps
    const { name, stopGraceMs } = this.spec
    while ((await this.#process?.end(stopGraceMs, this.#killNow.signal)) === 'left') {
      if (this.#stopped.signal.aborted) return
      logger.warn({ service: name }, 'waiting for a process of the service that cannot be killed')
    }
  }

  async #end(): Promise<GroupEnd> {
    this.#stopped.abort()
    this.#pauseOver.abort()
    this.#settle(this.#startError('it was stopped'))
    if (this.#process === undefined && this.#life === undefined) return 'ended'
    // Before the loop has ended, so that SIGTERM does not wait for a probe that is on its way.
    const process = this.#process
    const group = (await process?.end(this.spec.stopGraceMs, this.#killNow.signal)) ?? 'ended'
    await this.#life
    if (process !== undefined && group !== 'left') this.#lastExit = describeEnd(await process.ended)
    await process?.drained()
    const left = await this.#endStragglers()
    process?.release()
    this.#process = undefined
    const unkillable = group === 'left' || left.length > 0
    if (this.#state === 'stopping')
      this.#enter('gone', unkillable ? 'something of it cannot be killed' : undefined)
    return unkillable ? 'left' : group
  }

  /** What has left the process group: by its mark, and by its control group also what has no mark any more. */
  async #endStragglers(): Promise<number[]> {
    const { clock, group } = this.#deps
    const find = (): number[] => [...new Set([...findMarked(this.#marker), ...(group?.pids() ?? [])])]
    const left = await killStragglers(find, clock, this.#killNow.signal)
    if (group === undefined) return left
    // Whatever forks faster than it is found and signalled ends here.
    const unkillable = await group.kill(clock)
    group.remove()
    if (left.length + unkillable.length === 0) return []
    return find()
  }

  #enter(event: ServiceEvent, reason?: string): void {
    this.#state = transition(this.#state, event)
    this.#since = this.#deps.clock.date()
    this.#reason = reason
  }

  #untilSettled(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settled = new AbortController()
      this.#waiting.push((failure) => {
        settled.abort()
        if (failure === undefined) resolve()
        else reject(failure)
      })
      const callOff = (): void => reject(this.#startError('the start was called off'))
      signal?.addEventListener('abort', callOff, { once: true, signal: settled.signal })
    })
  }

  #settle(failure?: ServiceStartError): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const settle of waiting) settle(failure)
  }

  #startError(reason: string, end?: ProcessEnd): ServiceStartError {
    return new ServiceStartError(this.spec.name, reason, end)
  }
}
