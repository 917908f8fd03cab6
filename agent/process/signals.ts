import type { Logger } from '../../base/log/logger.js'
import { systemClock } from './clock.js'

interface SignalDeps {
  readonly logger: Logger
  /** Asked first, for all of them; whether that is all there is to do. */
  takes?(signal: NodeJS.Signals): boolean
  /** The first TERM, INT or QUIT. */
  onStop(signal: NodeJS.Signals): void
  /** The second one: whoever sent it has no patience left. */
  onHurry(): void
  /** The third one and all after it. */
  onKill(): void
  onReload(): void
  /** USR1, USR2 and WINCH mean nothing to us; the agent command may know them. */
  forward(signal: NodeJS.Signals): void
  /** Milliseconds that only grow; a test may hand in its own. */
  readonly now?: () => number
  /** Where the signals come from; `process` unless a test says otherwise. */
  readonly source?: NodeJS.EventEmitter
}

const STOP: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGQUIT']
/** Those that a terminal sends, to everybody in the foreground: npm among them, which sends it on to us. */
const FROM_KEYS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT']
/** Nobody who wants to press a key twice is that quick, and no npm is that slow. */
const ONE_KEY_MS = 500
const FORWARDED: readonly NodeJS.Signals[] = ['SIGUSR1', 'SIGUSR2', 'SIGWINCH']

/**
 * Takes every signal an init is sent. To process 1 the kernel delivers only signals with a handler; and
 * without one for USR1, Node would open its debugger.
 *
 * @returns removes the handlers again.
 */
export function handleSignals(deps: SignalDeps): () => void {
  const source = deps.source ?? process
  const { now = systemClock.now } = deps
  let stops = 0
  let last: { readonly signal: NodeJS.Signals; readonly at: number } | undefined

  const onStopSignal = (signal: NodeJS.Signals): void => {
    if (deps.takes?.(signal) === true) return
    const at = now()
    const again = last?.signal === signal && at - last.at < ONE_KEY_MS && FROM_KEYS.includes(signal)
    if (again) return
    last = { signal, at }
    stops += 1
    deps.logger.info({ signal }, stops === 1 ? 'stopping' : stops === 2 ? 'stopping faster' : 'killing')
    if (stops === 1) deps.onStop(signal)
    else if (stops === 2) deps.onHurry()
    else deps.onKill()
  }
  const onReloadSignal = (signal: NodeJS.Signals): void => {
    if (deps.takes?.(signal) !== true) deps.onReload()
  }
  const onForwarded = (signal: NodeJS.Signals): void => {
    if (deps.takes?.(signal) !== true) deps.forward(signal)
  }

  for (const signal of STOP) source.on(signal, onStopSignal)
  for (const signal of FORWARDED) source.on(signal, onForwarded)
  source.on('SIGHUP', onReloadSignal)
  return () => {
    for (const signal of STOP) source.off(signal, onStopSignal)
    for (const signal of FORWARDED) source.off(signal, onForwarded)
    source.off('SIGHUP', onReloadSignal)
  }
}
