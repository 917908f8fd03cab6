import { reasonOf } from '../../base/errors.js'

/** The two system calls that Node does not offer. */
export interface NativeCalls {
  readonly name: 'koffi' | 'none'
  /** Why there are none, when there are none. */
  readonly reason?: string
  /** Whether `pid` was a zombie child of ours and is gone now. Never blocks, never waits for another pid. */
  reap(pid: number): boolean
  /** Orphans below this process become its children, as they would if it were process 1. */
  becomeSubreaper(): boolean
}

/** waitpid(2), the same number on every Linux. */
const WNOHANG = 1
/** prctl(2), Linux 3.4. */
const PR_SET_CHILD_SUBREAPER = 36

/** Loads koffi, which costs 17 ms: only for a process that has something to reap. Never rejects. */
export async function loadNativeCalls(): Promise<NativeCalls> {
  try {
    const { default: koffi } = await import('koffi')
    const libc = koffi.load(null)
    const waitpid = libc.func('int waitpid(int pid, int *status, int options)')
    const prctl = libc.func(
      'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
    )
    return {
      name: 'koffi',
      reap: (pid) => pid > 1 && waitpid(pid, null, WNOHANG) === pid,
      becomeSubreaper: () => prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) === 0,
    }
  } catch (error) {
    return { name: 'none', reason: reasonOf(error), reap: () => false, becomeSubreaper: () => false }
  }
}
