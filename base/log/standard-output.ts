import { closeSync, constants, openSync } from 'node:fs'
import { isatty } from 'node:tty'

/** A descriptor to write a log to, and what to do when it is no longer needed. */
export interface Output {
  readonly descriptor: number
  close(): void
}

/**
 * Standard output (1) or the error output (2) as a descriptor that answers EAGAIN when its reader stalls. Pipes and sockets are so once Node has
 * made a stream of them. Of a terminal Node's stream makes a blocking one: Ctrl-S, or whoever holds the other side of
 * a container's terminal and does not read, would stop us. So it is opened once more, as a description of its own.
 *
 * @param shared another program has it too, for which it must stay as it is: then that is done of pipes and files as well.
 *   A socket cannot be opened so; whoever reads one and stalls then stalls us.
 */
export function standardOutput(standard: 1 | 2, shared = false): Output {
  if (shared || isatty(standard)) {
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY, O_APPEND } = constants
    try {
      const descriptor = openSync(`/proc/self/fd/${standard}`, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_APPEND)
      return { descriptor, close: () => closeSync(descriptor) }
    } catch {
      // Another account's terminal, or no /proc: then it is written to as Node does.
      if (shared) return { descriptor: standard, close: () => undefined }
    }
  }
  return { descriptor: (standard === 1 ? process.stdout : process.stderr).fd, close: () => undefined }
}
