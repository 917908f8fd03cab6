import { readFileSync } from 'node:fs'
import type { Clock } from '../init/clock.js'
import { listPids, readStat } from '../init/proc-stat.js'
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
    if (pid === process.pid) return false
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
      return environment.includes(wanted) && readStat(pid)?.state !== 'Z'
    } catch {
      return false
    }
  })
}

/**
 * Ends what a service left behind outside its group (daemons made by setsid or a double fork): SIGTERM, one
 * second at most, SIGKILL. Returns when nothing of it is left, or with the pids that could not be killed.
 */
export async function killMarked(
  marker: string,
  clock: Clock,
  killNow: AbortSignal,
  variable = MARKER_VARIABLE,
): Promise<number[]> {
  let left = findMarked(marker, variable)
  if (left.length === 0) return left
  for (const pid of left) sendSignal(pid, 'SIGTERM')
  const killAt = clock.now() + GRACE_MS
  while (left.length > 0 && clock.now() < killAt && !killNow.aborted) {
    await clock.sleep(POLL_MS, killNow)
    left = findMarked(marker, variable)
  }
  for (let round = 0; left.length > 0 && round < MAX_ROUNDS; round += 1) {
    for (const pid of left) sendSignal(pid, 'SIGKILL')
    await clock.sleep(POLL_MS)
    left = findMarked(marker, variable)
  }
  return left
}
