import type { Socket } from 'node:net'

/** Who connected to a Unix socket, as the kernel noted it at connect(2): unix(7), `SO_PEERCRED`. */
interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** socket(7); the numbers are those of every architecture Node is built for. */
const SOL_SOCKET = 1
const SO_PEERCRED = 17
/** `struct ucred`: three 32-bit numbers. */
const UCRED_BYTES = 12

/** Tells who is at the other end; undefined when the connection is gone. */
export type AskPeer = (socket: Socket) => PeerCredentials | undefined

/**
 * Node does not tell a peer's credentials, so the kernel is asked through koffi, whose loading costs 17 ms.
 *
 * @throws Error when koffi's native part is missing.
 */
export async function loadAskPeer(): Promise<AskPeer> {
  const { default: koffi } = await import('koffi')
  const getsockopt = koffi
    .load(null)
    .func('int getsockopt(int fd, int level, int name, void *value, _Inout_ uint32_t *length)')
  return (socket) => {
    const fd = descriptorOf(socket)
    if (fd === undefined) return undefined
    const value = Buffer.alloc(UCRED_BYTES)
    const failed: unknown = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, [UCRED_BYTES])
    if (failed !== 0) return undefined
    return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) }
  }
}

/** Node has no public way to a socket's descriptor; the handle's number is what its own `server.listen` reads. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: unknown } | null }
  const fd = handle?.fd
  return typeof fd === 'number' && fd >= 0 ? fd : undefined
}
