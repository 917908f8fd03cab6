/** Tells a program of ours which of its ports the agent has bound already, and on which descriptors they are. */
export const LISTENERS_VARIABLE = 'DISCOBOT_LISTENERS'

export interface HeldListener {
  readonly fd: number
  readonly host: string
  readonly port: number
}

/** For `server.listen`. */
export type ListenAt = (host: string, port: number) => ListenPlace
type ListenPlace = { readonly fd: number } | { readonly host: string; readonly port: number }

/** Whoever is started by hand binds for itself. */
export const bindItself: ListenAt = (host, port) => ({ host, port })

/**
 * Where to listen, by what {@link LISTENERS_VARIABLE} says. The agent keeps the sockets: while a program of ours is
 * started again its ports are nobody else's, and who connects waits.
 */
export function listenersOf(variable: string | undefined): ListenAt {
  if (variable === undefined) return bindItself
  const held = parse(variable)
  return (host, port) => {
    const found = held.find((one) => one.host === host && one.port === port)
    return found === undefined ? { host, port } : { fd: found.fd }
  }
}

function parse(text: string): readonly HeldListener[] {
  try {
    const said: unknown = JSON.parse(text)
    return Array.isArray(said) ? said.filter(isHeldListener) : []
  } catch {
    // A variable that was somebody else's.
    return []
  }
}

function isHeldListener(said: unknown): said is HeldListener {
  if (typeof said !== 'object' || said === null) return false
  if (!('fd' in said) || !('host' in said) || !('port' in said)) return false
  const { fd, host, port } = said
  return Number.isInteger(fd) && Number(fd) > 2 && typeof host === 'string' && Number.isInteger(port)
}
