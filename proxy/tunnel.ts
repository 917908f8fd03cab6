import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/**
 * client ⇄ us ⇄ upstream, bytes untouched, with backpressure both ways. An end on one side ends the other
 * half only (TCP half-close); an abort on one side aborts the other.
 *
 * Resolves when both sides are closed.
 *
 * @param below the TCP connection under `client` where that is TLS: an abort must be seen there.
 */
export function splice(client: Duplex, upstream: Duplex, below: Duplex = client): Promise<void> {
  return new Promise((resolve) => {
    let open = 2
    const watch = (side: Duplex, other: Duplex, belowOther: Duplex): void => {
      const closed = (): void => {
        // Its end was passed on by the pipe; without an end it was cut.
        if (!side.readableEnded) abort(belowOther)
        else if (!other.writableEnded) other.end()
        open -= 1
        if (open === 0) resolve()
      }
      // It may have been cut before anybody looked.
      if (side.closed) closed()
      else side.once('close', closed)
    }
    watch(client, upstream, upstream)
    watch(upstream, client, below)
    client.pipe(upstream)
    upstream.pipe(client)
  })
}

/** A reset says what an orderly end would hide: that bytes may be missing. */
function abort(side: Duplex): void {
  if (side instanceof Socket && !(side instanceof TLSSocket)) side.resetAndDestroy()
  else side.destroy()
}
