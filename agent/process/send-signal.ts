import { codeOf } from '../../base/errors.js'

/** Whether there was anybody to take it; a negative pid means a whole group, as in kill(2). */
export function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    // EPERM: it is there, and not ours to signal.
    return codeOf(error) === 'EPERM'
  }
}
