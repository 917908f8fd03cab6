import { listPids, readStat } from './proc-stat.js'
import { markerOf } from './stragglers.js'

/** A process that has ended and that its parent has not waited for. */
export interface Zombie {
  readonly pid: number
  readonly name: string
  /** Who would have to wait for it; process 1 does, for those it was given. */
  readonly parent: { readonly pid: number; readonly name: string }
  /** Whose processes it comes from, where that can be told. */
  readonly service?: string
}

/** A machine that is full of them is no better described by more. */
const MAX_ZOMBIES = 100

/** @param everybody also those that belong to no service and are not ours: on a machine that is not ours they are noise. */
export function listZombies(everybody: boolean): Zombie[] {
  const zombies: Zombie[] = []
  for (const pid of listPids()) {
    const stat = readStat(pid)
    if (stat?.state !== 'Z') continue
    const parent = readStat(stat.ppid)
    if (parent === undefined) continue
    // A zombie's own environment is gone with its memory; whoever started it, or led its group, has the mark still.
    const service = (markerOf(stat.ppid) ?? markerOf(stat.pgrp))?.split('/', 1)[0]
    if (!everybody && service === undefined && stat.ppid !== process.pid) continue
    zombies.push({
      pid,
      name: stat.name,
      parent: { pid: parent.pid, name: parent.name },
      ...(service === undefined ? {} : { service }),
    })
    if (zombies.length === MAX_ZOMBIES) break
  }
  return zombies
}
