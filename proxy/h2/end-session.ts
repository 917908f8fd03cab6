import type { Http2Session } from 'node:http2'

/** For the last words to leave; what is not gone by then is cut. */
const FAREWELL_MS = 1_000

/**
 * Ends a connection that has no streams. After its peer has broken the protocol Node reads no more of it, and so
 * would never learn that the peer has left.
 */
export function endSession(session: Http2Session): void {
  session.close()
  setTimeout(() => session.destroy(), FAREWELL_MS).unref()
}
