import { closeSync, writeSync } from 'node:fs'

/** Names the descriptor on which whoever started us waits to hear that asking is worth it. */
export const READY_FD_VARIABLE = 'DISCOBOT_READY_FD'

/**
 * Writes the newline that {@link READY_FD_VARIABLE} asks for and closes the descriptor. To be called once, when
 * everything listens. Does nothing for whoever was started by hand.
 */
export function signalReady(variable: string | undefined): void {
  if (variable === undefined || !/^[3-9]$/.test(variable)) return
  const fd = Number(variable)
  try {
    writeSync(fd, '\n')
    closeSync(fd)
  } catch {
    // EBADF, EPIPE: a variable that was somebody else's, or nobody waits any more.
  }
}
