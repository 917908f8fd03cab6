import { closeSync, readFileSync } from 'node:fs'

/**
 * The token that lets the agent API change services, from the descriptor that `DISCOBOT_CONTROL_TOKEN_FD` names;
 * undefined where nobody has handed one over. To be called once, before anything is started: the descriptor is
 * closed afterwards, and the token is nowhere but in our memory.
 */
export function takeHandedToken(variable: string | undefined): string | undefined {
  if (variable === undefined || !/^[3-9]$/.test(variable)) return undefined
  const fd = Number(variable)
  try {
    const token = readFileSync(fd, 'utf8')
    return token === '' ? undefined : token
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
