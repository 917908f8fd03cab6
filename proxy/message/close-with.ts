import type { Duplex } from 'node:stream'

/** A client that was told no has this long to read it and end its side. */
const LINGER_MS = 2_000

/**
 * Ends a connection with last words. What the client still sends is read and dropped: left unread it would
 * keep the socket open for ever, and closing over it would reset the connection before the words are read.
 */
export function closeWith(socket: Duplex, lastWords: string | Buffer): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
  socket.end(lastWords)
  socket.resume()
}
