import type { Clock } from '../process/clock.js'
import { describeReadiness, inBrackets, probe } from './readiness.js'
import type { Liveness } from './spec.js'

/**
 * Asks a service that is ready, again and again, until it fails to answer too often in a row.
 *
 * @returns why it counts as unresponsive, or undefined when `over` aborted first.
 */
export async function untilUnresponsive(
  liveness: Liveness | undefined,
  clock: Clock,
  over: AbortSignal,
): Promise<string | undefined> {
  let misses = 0
  while (!over.aborted) {
    // Without questions to ask it is the end that is waited for; a timer takes 24.8 days at most.
    await clock.sleep(liveness?.periodMs ?? MAX_TIMER_MS, over)
    if (liveness === undefined || over.aborted) continue
    const answer = await probe(liveness.probe, liveness.timeoutMs, over)
    if (over.aborted) break
    misses = answer.ready ? 0 : misses + 1
    if (misses >= liveness.threshold)
      return `no answer from ${describeReadiness(liveness.probe)}, asked ${misses} times${inBrackets(answer)}`
  }
  return undefined
}

/** setTimeout's own bound: a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1
