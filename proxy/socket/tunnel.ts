import type { Socket } from 'node:net'
import type { Duplex, Transform } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { reasonOf } from '../../base/errors.js'
import { watchIdle } from './idle-watch.js'

/**
 * client ⇄ us ⇄ upstream, bytes untouched, with backpressure both ways. An end on one side ends the other
 * half only (TCP half-close); an abort on one side aborts the other.
 *
 * Resolves when both sides are closed, with the reason where we closed them: nothing flowed for `idleMs`, or the guard failed.
 *
 * @param below the TCP connection under `client`, where that is TLS or a stream of Node's: an abort must be seen there.
 * @param guard looks at what the client sends; both sides are cut when it fails.
 */
export function splice(
  client: Duplex,
  upstream: Socket,
  idleMs: number,
  below: Socket,
  guard?: Transform,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    let open = 2
    let problem: string | undefined
    const stop = watchIdle({
      limitMs: idleMs,
      progress: () => below.bytesRead + below.bytesWritten + upstream.bytesRead + upstream.bytesWritten,
      onIdle() {
        problem = 'nothing flowed for timeouts.idle'
        abort(below)
        abort(upstream)
      },
    })
    const watch = (side: Duplex, other: Duplex, belowOther: Socket): void => {
      const closed = (): void => {
        // Its end was passed on by the pipe; without an end it was cut.
        if (!side.readableEnded) abort(belowOther)
        else {
          if (!other.writableEnded) other.end()
          // What it still sends can go nowhere; left unread, its own end would never be seen.
          other.resume()
        }
        open -= 1
        if (open > 0) return
        stop()
        resolve(problem)
      }
      // It may have been cut before anybody looked.
      if (side.closed) closed()
      else side.once('close', closed)
    }
    watch(client, upstream, upstream)
    watch(upstream, client, below)
    if (guard === undefined) client.pipe(upstream)
    else {
      guard.once('error', (error) => {
        problem = reasonOf(error)
        abort(below)
        abort(upstream)
      })
      client.pipe(guard).pipe(upstream)
    }
    upstream.pipe(client)
  })
}

/** A reset says what an orderly end would hide: that bytes may be missing. */
function abort(side: Socket): void {
  if (side instanceof TLSSocket) side.destroy()
  else side.resetAndDestroy()
}
