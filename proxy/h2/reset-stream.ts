import type { Http2Stream } from 'node:http2'

/**
 * Breaks a stream off with RST_STREAM. It is to be made with `waitForTrailers`: without it, close() says END_STREAM
 * first, and a part passes for the whole.
 *
 * Once the event loop has gone on, because the caller may run inside of what the connection has just read. There Node
 * only notes the reset. A stream whose other half has ended is then gone before the note is read: Node 24 says
 * END_STREAM for it, and Node 22 and 26 end the process by an assertion (Http2Stream::OnTrailers).
 */
export function resetStream(stream: Http2Stream, http2Code: number): void {
  setImmediate(() => stream.close(http2Code))
}
