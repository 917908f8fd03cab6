import type { Http2Session } from 'node:http2'
import type { Socket } from 'node:net'

/** For the last words to leave; what is not gone by then is cut. */
const FAREWELL_MS = 1_000

/**
 * Ends a connection that has no streams. After its peer has broken the protocol Node reads no more of it, and so
 * would never learn that the peer has left.
 *
 * @param below the TCP connection, or TLS where that is all there is.
 */
export function endSession(session: Http2Session, below: Socket): void {
  session.close()
  setTimeout(() => cutSession(session, below), FAREWELL_MS).unref()
}

/**
 * Ends a connection at once. A session that is destroyed waits for the write it is at, and where the peer was
 * killed in the middle of one that never comes back: Node has stopped reading and so does not see the reset.
 */
export function cutSession(session: Http2Session, below: Socket, reason?: Error): void {
  session.destroy(reason)
  below.destroy()
}
