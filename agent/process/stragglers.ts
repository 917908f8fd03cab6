import { readFileSync } from 'node:fs'
import type { Clock } from './clock.js'
import { listPids, readStat } from './proc-stat.js'
import { sendSignal } from './send-signal.js'

/** Every process of a service inherits this variable, also those that leave its process group. */
export const MARKER_VARIABLE = 'DISCOBOT_SERVICE'

/** What they get between SIGTERM and SIGKILL: their service has ended, so little can depend on them. */
const GRACE_MS = 1_000
/** A process that forks as fast as it is killed would keep us here for ever. */
const MAX_ROUNDS = 20
const POLL_MS = 10

/**
 * Living processes whose environment holds this marker under `variable`. proc(5): `environ` is what the process was started
 * with, and only its owner and root may read it, so we find what we are allowed to kill.
 */
export function findMarked(marker: string, variable = MARKER_VARIABLE): number[] {
  const wanted = `${variable}=${marker}`
  return listPids().filter((pid) => {
    return pid !== process.pid && environmentOf(pid).includes(wanted) && readStat(pid)?.state !== 'Z'
  })
}

/** The marker that a process was started with; undefined when it has none, or may not be looked at. */
export function markerOf(pid: number): string | undefined {
  const prefix = `${MARKER_VARIABLE}=`
  return environmentOf(pid)
    .find((variable) => variable.startsWith(prefix))
    ?.slice(prefix.length)
}

/** Empty when there is no such process, it is a zombie, or it is not ours to look at. */
function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
  } catch {
    return []
  }
}

/**
 * Ends what a service left behind outside its group (daemons made by setsid or a double fork): SIGTERM, one
 * second at most, SIGKILL. Returns when nothing of it is left, or with the pids that could not be killed.
 *
 * @param find is asked again and again.
 */
export async function killStragglers(
  find: () => readonly number[],
  clock: Clock,
  killNow: AbortSignal,
): Promise<number[]> {
  let left = find()
  for (const pid of left) sendSignal(pid, 'SIGTERM')
  const killAt = clock.now() + GRACE_MS
  // While a process begins another program its environment reads as empty (execve(2)): nothing counts when seen twice.
  const look = async (): Promise<void> => {
    left = find()
    if (left.length > 0) return
    await clock.sleep(POLL_MS)
    left = find()
  }
  while (left.length > 0 && clock.now() < killAt && !killNow.aborted) {
    await clock.sleep(POLL_MS, killNow)
    await look()
  }
  for (let round = 0; left.length > 0 && round < MAX_ROUNDS; round += 1) {
    for (const pid of left) sendSignal(pid, 'SIGKILL')
    await clock.sleep(POLL_MS)
    await look()
  }
  return [...left]
}
