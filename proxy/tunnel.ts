import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/**
 * client ⇄ us ⇄ upstream, bytes untouched, with backpressure both ways. An end on one side ends the other
 * half only (TCP half-close); an abort on one side aborts the other.
 *
 * Resolves when both sides are closed.
 */
export function splice(client: Duplex, upstream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    let open = 2
    const watch = (side: Duplex, other: Duplex): void => {
      side.once('close', () => {
        // Its end was passed on by the pipe; without an end it was cut.
        if (!side.readableEnded) abort(other)
        else if (!other.writableEnded) other.end()
        open -= 1
        if (open === 0) resolve()
      })
    }
    watch(client, upstream)
    watch(upstream, client)
    client.pipe(upstream)
    upstream.pipe(client)
  })
}

/** A reset says what an orderly end would hide: that bytes may be missing. */
function abort(side: Duplex): void {
  if (side instanceof Socket && !(side instanceof TLSSocket)) side.resetAndDestroy()
  else side.destroy()
}
