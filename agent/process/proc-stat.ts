import { readFileSync, readdirSync } from 'node:fs'

/** The part of `/proc/PID/stat` (proc(5)) that matters here. */
interface ProcStat {
  readonly pid: number
  readonly name: string
  /** One letter; `Z` is a zombie. */
  readonly state: string
  readonly ppid: number
  /** Process group. */
  readonly pgrp: number
}

/** The name stands in brackets and may itself hold spaces and brackets, so the last bracket counts. */
export function parseStat(text: string): ProcStat | undefined {
  const open = text.indexOf('(')
  const close = text.lastIndexOf(')')
  if (open < 0 || close < open) return undefined
  const [state, ppid, pgrp] = text.slice(close + 2).split(' ', 3)
  if (state === undefined || ppid === undefined || pgrp === undefined) return undefined
  return {
    pid: Number(text.slice(0, open)),
    name: text.slice(open + 1, close),
    state,
    ppid: Number(ppid),
    pgrp: Number(pgrp),
  }
}

/** Undefined when there is no such process (any more). */
export function readStat(pid: number): ProcStat | undefined {
  const text = readProc(`/proc/${pid}/stat`)
  return text === undefined ? undefined : parseStat(text)
}

/** Every process this one can see; empty where there is no `/proc`. */
export function listPids(): number[] {
  return listNumbers('/proc')
}

/**
 * Whether anything of the process group still runs. A zombie keeps its group alive for kill(2) but holds
 * nothing and only waits for its parent, so it does not count. Without `/proc` it is taken to run.
 */
export function hasLivingMembers(pgrp: number): boolean {
  const pids = listPids()
  if (pids.length === 0) return true
  return pids.some((pid) => {
    const stat = readStat(pid)
    return stat !== undefined && stat.pgrp === pgrp && stat.state !== 'Z'
  })
}

/**
 * Direct children of this process, zombies included. The kernel lists them by the thread that forked them;
 * where it was built without CONFIG_PROC_CHILDREN, every process is asked for its parent instead.
 */
export function directChildren(): number[] {
  const pids: number[] = []
  for (const thread of listNumbers('/proc/self/task')) {
    const text = readProc(`/proc/self/task/${thread}/children`)
    if (text !== undefined) pids.push(...text.split(' ').filter(Boolean).map(Number))
    else if (thread === process.pid) return childrenByParent()
  }
  return pids
}

/** The slow way of {@link directChildren}. */
export function childrenByParent(): number[] {
  return listPids().filter((pid) => readStat(pid)?.ppid === process.pid)
}

function listNumbers(folder: string): number[] {
  try {
    return readdirSync(folder).map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

/** Synchronous on purpose: procfs answers from memory, and a thread pool that is busy must not delay an init. */
function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
