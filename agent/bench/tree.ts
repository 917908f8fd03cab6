import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** A process as this machine numbers it. */
export interface ProcessView {
  readonly pid: number
  /** Its words joined with blanks. */
  readonly command: string
  /** Proportional set size in bytes: what is shared counts in parts (proc_pid_smaps(5)). */
  readonly pssBytes: number
  /** Resident set size in bytes. */
  readonly rssBytes: number
}

/** Everything that runs in the pid namespace of process 1, that one first. */
export function processesOf(pid1: number): readonly ProcessView[] {
  const namespace = namespaceOf(pid1)
  if (namespace === undefined) return []
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const inside = pids.map(Number).filter((pid) => namespaceOf(pid) === namespace)
  return inside.sort((one, other) => Number(other === pid1) - Number(one === pid1)).map(view)
}

function view(pid: number): ProcessView {
  const rollup = read(`/proc/${pid}/smaps_rollup`)
  const kib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? 0)
  return {
    pid,
    command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim(),
    pssBytes: kib('Pss') * 1024,
    rssBytes: kib('Rss') * 1024,
  }
}

function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return undefined
  }
}

/** One that has just ended takes nothing. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
