import { constants } from 'node:os'

/** How a process ended, or why there never was one. */
export type ProcessEnd =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'signalled'; readonly signal: NodeJS.Signals }
  /** `code` is the system's: `ENOENT`, `EACCES`, … */
  | { readonly kind: 'not-started'; readonly code: string; readonly reason: string }

/** POSIX shells' codes (2.8.2 Exit Status for Commands), which container users know from tini and docker. */
const NOT_EXECUTABLE = 126
const NOT_FOUND = 127
const SIGNAL_BASE = 128

/** The number a shell would give: 0–255, 128+n for signal n, 126 not executable, 127 not found. */
export function exitCodeOf(end: ProcessEnd): number {
  switch (end.kind) {
    case 'exited':
      return end.code
    case 'signalled':
      return SIGNAL_BASE + constants.signals[end.signal]
    case 'not-started':
      return end.code === 'ENOENT' || end.code === 'ENOTDIR' ? NOT_FOUND : NOT_EXECUTABLE
  }
}

/** In words: `exit code 1`, `SIGKILL`. */
export function describeEnd(end: ProcessEnd): string {
  switch (end.kind) {
    case 'exited':
      return `exit code ${end.code}`
    case 'signalled':
      return end.signal
    case 'not-started':
      return `not started (${end.reason})`
  }
}

/** Whether a process that ended like this did what it was for. */
export function endedWell(end: ProcessEnd): boolean {
  return end.kind === 'exited' && end.code === 0
}

/**
 * The code of the whole container when an essential service failed for good. A service may have failed and
 * yet ended with 0 (it never got ready and was stopped): that must not look like success.
 */
export function failureExitCode(end: ProcessEnd | undefined): number {
  const code = end === undefined ? 1 : exitCodeOf(end)
  return code === 0 ? 1 : code
}
