import { closeSync, readFileSync } from 'node:fs'

/** What the agent gives to the built-in agent API alone, once everything that it needs is ready. */
export interface Handover {
  /** Lets it change services. */
  readonly token: string
  /** For it and for what it starts. */
  readonly env: Readonly<Record<string, string>>
}

/**
 * Waits for the handover on the descriptor that `DISCOBOT_HANDOVER_FD` names; undefined where nobody hands over
 * anything. To be called once, before anything is started: the descriptor is closed afterwards, and the token is
 * nowhere but in our memory.
 */
export function takeHandover(variable: string | undefined): Handover | undefined {
  if (variable === undefined || !/^[3-9]$/.test(variable)) return undefined
  const fd = Number(variable)
  try {
    const given = JSON.parse(readFileSync(fd, 'utf8')) as Partial<Handover>
    return typeof given.token === 'string' && typeof given.env === 'object' ? (given as Handover) : undefined
  } catch {
    // Started by hand, with a variable that was somebody else's.
    return undefined
  } finally {
    close(fd)
  }
}

function close(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // EBADF: it was never there.
  }
}
