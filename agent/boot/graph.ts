import { setMaxListeners } from 'node:events'
import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import type { Clock } from '../process/clock.js'
import { BootError, BootInterruptedError } from './errors.js'
import { checkGraph } from './plan.js'
import type { BootStep, NotDone, StepStatus } from '../status/step.js'

/** What a step that was told to end may take to clean up; then the boot goes on without waiting for it. */
const ABORT_GRACE_MS = 500

interface BootDeps {
  readonly logger: Logger
  readonly clock: Clock
  /** Ends the boot: a stop was asked for. */
  readonly signal: AbortSignal
  /** What went well is shown in a timeline afterwards, so that the log need not tell of it. */
  readonly timelineFollows?: boolean
  /** Called with all steps, in the order given, whenever one of them changes. */
  onChange?(steps: readonly StepStatus[]): void
}

export interface BootResult {
  readonly steps: readonly StepStatus[]
  /** `step: why and what to do about it`, one for each step that degraded. */
  readonly degraded: readonly string[]
  readonly tookMs: number
}

/**
 * Runs every step as soon as all it needs has ended, side by side where nothing stands between them.
 * Resolves or rejects when every step has ended, was skipped, or ignores that it was told to end.
 *
 * @throws BootGraphError when names, needs or their order are wrong; nothing has run then.
 * @throws BootError when a `fatal` step fails; the others were told to end and what had not begun is skipped.
 * @throws BootInterruptedError when `signal` aborted.
 */
export async function runBoot(steps: readonly BootStep[], deps: BootDeps): Promise<BootResult> {
  checkGraph(steps)
  return new Boot(steps, deps).run()
}

class Boot {
  readonly #steps: readonly BootStep[]
  readonly #deps: BootDeps
  readonly #startedAt: number
  readonly #over = new AbortController()
  readonly #statuses = new Map<string, StepStatus>()
  readonly #ended = new Map<string, Promise<void>>()
  #failure: BootError | undefined

  constructor(steps: readonly BootStep[], deps: BootDeps) {
    this.#steps = steps
    this.#deps = deps
    this.#startedAt = deps.clock.now()
    // Every running step listens.
    setMaxListeners(0, this.#over.signal)
    for (const { name } of steps) this.#statuses.set(name, { name, state: 'waiting' })
  }

  async run(): Promise<BootResult> {
    const { signal } = this.#deps
    const stop = (): void => this.#over.abort(new BootInterruptedError())
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    try {
      await Promise.all(this.#steps.map((step) => this.#whenReached(step)))
    } finally {
      signal.removeEventListener('abort', stop)
    }
    if (this.#failure !== undefined) throw this.#failure
    if (this.#over.signal.aborted) throw new BootInterruptedError()
    const steps = this.#snapshot()
    const degraded = steps.filter((step) => step.state === 'degraded')
    return {
      steps,
      degraded: degraded.map(({ name, note }) => `${name}: ${note ?? 'no reason given'}`),
      tookMs: this.#sinceStart(),
    }
  }

  /** Steps may be listed in any order, so each one makes the promises of what it needs. */
  #whenReached(step: BootStep): Promise<void> {
    const known = this.#ended.get(step.name)
    if (known !== undefined) return known
    const needed = this.#steps.filter((other) => step.needs.includes(other.name))
    const ended = Promise.all(needed.map((other) => this.#whenReached(other))).then(() => this.#take(step))
    this.#ended.set(step.name, ended)
    return ended
  }

  async #take(step: BootStep): Promise<void> {
    const { name } = step
    if (this.#over.signal.aborted) {
      this.#set({ name, state: 'skipped' })
      return
    }
    const startedMs = this.#sinceStart()
    this.#set({ name, state: 'running', startedMs })
    const outcome = await this.#attempt(step)
    const tookMs = this.#sinceStart() - startedMs
    const { logger, timelineFollows = false } = this.#deps
    const told: Logger['info'] = (given, message) =>
      logger[timelineFollows ? 'debug' : 'info'](given, message)
    const fields = { step: name, ms: tookMs }
    if (outcome.ok) {
      if (typeof outcome.remark === 'object') {
        const { notDone } = outcome.remark
        this.#set({ name, state: 'skipped', startedMs, tookMs, note: notDone })
        told({ ...fields, note: notDone }, 'boot step left out')
        return
      }
      this.#set({ name, state: 'done', startedMs, tookMs, ...note(outcome.remark) })
      told({ ...fields, ...note(outcome.remark) }, 'boot step done')
      return
    }
    if (this.#over.signal.aborted) {
      const reason = oneLine(reasonOf(outcome.error))
      this.#set({ name, state: 'failed', startedMs, tookMs, note: reason })
      logger.error({ ...fields, note: reason }, 'boot step interrupted')
      return
    }
    const reason = withRemedy(outcome.error, step)
    const state = STATE_AFTER[step.onFailure]
    this.#set({ name, state, startedMs, tookMs, note: reason })
    switch (step.onFailure) {
      case 'ignore':
        logger.info({ ...fields, note: reason }, 'boot step failed, and nothing needs it')
        return
      case 'degrade':
        logger.warn({ ...fields, note: reason }, 'boot step degraded')
        return
      case 'fatal':
        logger.error({ ...fields, note: reason }, 'boot step failed')
        this.#failure = new BootError(name, reason, outcome.error)
        this.#over.abort(this.#failure)
    }
  }

  /** Ends with the step, or a little after its time-out or the end of the boot if it does not heed them. */
  async #attempt(step: BootStep): Promise<Outcome> {
    const { clock } = this.#deps
    const mine = new AbortController()
    const over = this.#over.signal
    const follow = (): void => mine.abort(new Error('the boot was ended'))
    over.addEventListener('abort', follow, { once: true, signal: mine.signal })

    const settled = new AbortController()
    const running = runStep(step, mine.signal).finally(() => settled.abort())
    const impatience = clock
      .sleep(step.timeoutMs, AbortSignal.any([settled.signal, mine.signal]))
      .then(async () => {
        if (settled.signal.aborted) return
        if (!mine.signal.aborted) mine.abort(new Error(`it took longer than ${duration(step.timeoutMs)}`))
        await clock.sleep(ABORT_GRACE_MS, settled.signal)
      })
    await Promise.race([running, impatience])
    over.removeEventListener('abort', follow)
    const given = settled.signal.aborted ? await running : undefined
    // Getting done after all is as good as being quick; otherwise the abort says more than what came of it.
    if (given?.ok === true || (given !== undefined && !mine.signal.aborted)) return given
    return { ok: false, error: mine.signal.reason }
  }

  #sinceStart(): number {
    return Math.round(this.#deps.clock.now() - this.#startedAt)
  }

  #set(status: StepStatus): void {
    this.#statuses.set(status.name, status)
    this.#deps.onChange?.(this.#snapshot())
  }

  #snapshot(): StepStatus[] {
    return [...this.#statuses.values()]
  }
}

type Outcome =
  | { readonly ok: true; readonly remark: string | NotDone | void }
  | { readonly ok: false; readonly error: unknown }

/** Never rejects, also for a step that throws before its first await or long after it was given up. */
async function runStep(step: BootStep, signal: AbortSignal): Promise<Outcome> {
  try {
    return { ok: true, remark: await step.run(signal) }
  } catch (error) {
    return { ok: false, error }
  }
}

const STATE_AFTER = { fatal: 'failed', degrade: 'degraded', ignore: 'ignored' } as const

/** Our own messages put what to do after a semicolon (docs/errors.md); all others get the step's. */
function withRemedy(error: unknown, { remedy }: BootStep): string {
  const reason = oneLine(reasonOf(error))
  return reason.includes('; ') || remedy === '' ? reason : `${reason}; ${remedy}`
}

/** Messages of commands may be of several. */
function oneLine(text: string): string {
  return text.trim().replace(/\s*[\r\n]+\s*/g, ' ')
}

function duration(ms: number): string {
  if (ms < 1_000) return `${ms} ms`
  return ms < 60_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} min`
}

function note(remark: string | void): { note?: string } {
  return typeof remark === 'string' && remark !== '' ? { note: remark } : {}
}
