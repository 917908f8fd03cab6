import type { Logger } from '../../base/log/logger.js'
import { describeEnd, endedWell, type ProcessEnd } from '../process/exit-code.js'
import { untilUnresponsive } from './liveness.js'
import { ServiceProcess, type ProcessDeps } from './process.js'
import { describeReadiness, fileMark, inBrackets, isTaken, untilReady, type Answer } from './readiness.js'
import type { Readiness, ServiceSpec } from './spec.js'

/** What became of one process of a service. */
export type Attempt =
  /** `reason` when it was made to end. */
  | {
      readonly kind: 'ended'
      readonly end: ProcessEnd | undefined
      readonly readyForMs: number
      readonly reason?: string
    }
  /** `end` is absent when there was not even a process. */
  | { readonly kind: 'not-ready'; readonly end: ProcessEnd | undefined; readonly reason: string }
  /** `stopped` aborted first; the process may still run. */
  | { readonly kind: 'stopped' }

interface AttemptDeps extends ProcessDeps {
  readonly logger: Logger
  readonly marker: string
  /** Somebody wants the service stopped. */
  readonly stopped: AbortSignal
  /** Nobody wants to wait any longer for what is being stopped. */
  readonly killNow: AbortSignal
  onSpawned(process: ServiceProcess): void
  onReady(): void
}

/** Runs one process of the service until it ends, is too late to be ready, or the service is stopped. */
export async function runAttempt(spec: ServiceSpec, deps: AttemptDeps): Promise<Attempt> {
  const { clock, stopped } = deps
  if (await isTaken(spec.readiness)) {
    return { kind: 'not-ready', end: undefined, reason: takenBy(spec.readiness) }
  }
  if (stopped.aborted) return { kind: 'stopped' }

  const before = fileMark(spec.readiness)
  const child = new ServiceProcess(spec, deps.marker, deps)
  deps.onSpawned(child)
  const over = new AbortController()
  const finish = (): void => over.abort()
  stopped.addEventListener('abort', finish, { once: true, signal: over.signal })
  child.ended.then(finish, finish)

  if (spec.type === 'oneshot') return runOnce(spec, child, deps, over.signal)
  const given = await Promise.race([spec.handover?.given, untilAborted(over.signal)])
  if (given !== undefined) child.handOver(given)
  const begunAt = clock.now()
  const answer: Answer =
    child.pid === undefined
      ? { ready: false }
      : await untilReady(spec.readiness, spec.readyTimeoutMs, clock, over.signal, before, child.notified)
  if (stopped.aborted) return { kind: 'stopped' }
  if (!answer.ready) return endUnready(spec, child, deps, answer)

  const readyAt = clock.now()
  deps.logger.info({ service: spec.name, pid: child.pid, ms: Math.round(readyAt - begunAt) }, 'service ready')
  deps.onReady()
  const reason = await untilUnresponsive(spec.liveness, clock, over.signal)
  if (stopped.aborted) return { kind: 'stopped' }
  const readyForMs = clock.now() - readyAt
  if (reason === undefined) return { kind: 'ended', end: await child.ended, readyForMs }
  const group = await child.end(spec.stopGraceMs, deps.killNow)
  return { kind: 'ended', end: group === 'left' ? undefined : await child.ended, readyForMs, reason }
}

/** Ready when it has ended well, and then until it is stopped. */
async function runOnce(
  spec: ServiceSpec,
  child: ServiceProcess,
  deps: AttemptDeps,
  over: AbortSignal,
): Promise<Attempt> {
  const { clock, stopped, logger } = deps
  const startedAt = clock.now()
  await clock.sleep(spec.readyTimeoutMs, over)
  if (stopped.aborted) return { kind: 'stopped' }
  if (child.isLeaderAlive || !endedWell(await child.ended)) return endUnready(spec, child, deps)
  await child.end(spec.stopGraceMs, deps.killNow)
  if (stopped.aborted) return { kind: 'stopped' }
  logger.info({ service: spec.name, ms: Math.round(clock.now() - startedAt) }, 'service done')
  deps.onReady()
  await untilAborted(stopped)
  return { kind: 'stopped' }
}

function takenBy(readiness: Readiness): string {
  return `something else already listens at ${describeReadiness(readiness)}`
}

/** It ended before it was ready, or it takes too long and is made to end. */
async function endUnready(
  spec: ServiceSpec,
  child: ServiceProcess,
  deps: AttemptDeps,
  answer: Answer = { ready: false },
): Promise<Attempt> {
  const tooLate = child.isLeaderAlive
  const group = tooLate ? await child.end(spec.stopGraceMs, deps.killNow) : 'ended'
  const end = group === 'left' ? undefined : await child.ended
  await child.drained()
  const said = child.lastLine === '' ? '' : `: ${child.lastLine}`
  const where = describeReadiness(spec.readiness)
  const why =
    tooLate || end === undefined
      ? spec.type === 'oneshot'
        ? `not done within ${spec.readyTimeoutMs} ms`
        : `no answer from ${where} within ${spec.readyTimeoutMs} ms${inBrackets(answer)}`
      : end.kind === 'not-started'
        ? end.reason
        : spec.type === 'oneshot'
          ? describeEnd(end)
          : `${describeEnd(end)} before it was ready`
  return { kind: 'not-ready', end, reason: why + said }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
