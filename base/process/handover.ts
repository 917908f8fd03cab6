import { closeSync, readFileSync } from 'node:fs'
import { DiscobotError } from '../errors.js'

/** Names the descriptor on which a program of ours waits for its handover. */
export const HANDOVER_FD_VARIABLE = 'DISCOBOT_HANDOVER_FD'

/**
 * What the agent gives to one program of ours alone, once everything that it needs is ready. The program is started
 * before that, reads its modules, and waits.
 */
export interface Handover {
  /** For the built-in agent API: lets it change services. */
  readonly token?: string
  /** In addition to the environment that it was started with. */
  readonly env: Readonly<Record<string, string>>
}

/** Whoever started us has ended before it said that we may begin. */
class HandoverError extends DiscobotError {
  readonly code = 'HANDOVER_MISSING'
}

/**
 * Waits for the handover on the descriptor that {@link HANDOVER_FD_VARIABLE} names; undefined where nobody hands over
 * anything. To be called once, before anything is started: the descriptor is closed afterwards, and what it said is
 * nowhere but in our memory. Until then we can do nothing else, and a signal without a handler ends us at once.
 *
 * @throws HandoverError when there will be none any more.
 */
export function takeHandover(variable: string | undefined): Handover | undefined {
  if (variable === undefined || !/^[3-9]$/.test(variable)) return undefined
  const fd = Number(variable)
  let text: string
  try {
    text = readFileSync(fd, 'utf8')
  } catch {
    // Started by hand, with a variable that was somebody else's.
    return undefined
  } finally {
    close(fd)
  }
  if (text === '') throw new HandoverError('cannot start: who was to say when has ended')
  return readHandover(text)
}

function readHandover(text: string): Handover | undefined {
  try {
    const { token, env } = JSON.parse(text) as Partial<Handover>
    if (typeof env !== 'object') return undefined
    return typeof token === 'string' ? { token, env } : { env }
  } catch {
    return undefined
  }
}

function close(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // EBADF: it was never there.
  }
}
