import { readFile } from 'node:fs/promises'

/** USER_HZ, which Linux shows to programs as 100 on every architecture we run on (proc(5)). */
const TICK_MS = 10

/** What a process and all its descendants take at the moment. */
export interface TreeUsage {
  /** Bytes; pages that several of them share are counted for each. */
  readonly residentBytes: number
  /** Since they started, in user and kernel mode together. */
  readonly cpuMs: number
}

export async function usageOf(pid: number): Promise<TreeUsage> {
  const own = await usageOfOne(pid)
  const children = await Promise.all((await childrenOf(pid)).map(usageOf))
  return children.reduce(
    (sum, { residentBytes, cpuMs }) => ({
      residentBytes: sum.residentBytes + residentBytes,
      cpuMs: sum.cpuMs + cpuMs,
    }),
    own,
  )
}

/** CPU time of our own children that have ended, in milliseconds: curl and hey. */
export async function endedChildrenCpuMs(): Promise<number> {
  const fields = await statFields(process.pid)
  return (Number(fields[13] ?? 0) + Number(fields[14] ?? 0)) * TICK_MS
}

async function usageOfOne(pid: number): Promise<TreeUsage> {
  const fields = await statFields(pid)
  const status = await readOrEmpty(`/proc/${pid}/status`)
  const kib = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0)
  return {
    residentBytes: kib * 1024,
    cpuMs: (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS,
  }
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readOrEmpty(`/proc/${pid}/task/${pid}/children`)
  return text.split(' ').filter(Boolean).map(Number)
}

/** From the state on (proc_pid_stat(5), field 3): the name before it may contain anything. */
async function statFields(pid: number): Promise<readonly string[]> {
  const text = await readOrEmpty(`/proc/${pid}/stat`)
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

/** A process that has just ended takes nothing. */
async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return ''
  }
}
