import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'

/**
 * Calls `then` once when `stream` has closed, at once where it is closed by now: `close` comes only once, and may
 * have come while something else was waited for.
 */
export function whenClosed(stream: Pick<Writable, 'destroyed' | 'once'>, then: () => void): void {
  if (stream.destroyed) then()
  else stream.once('close', then)
}

/**
 * Closes the answers that wait in a pipeline when their connection closes. Node emits `close` only for the one whose
 * turn it is; whoever serves one of the others would wait for it for ever.
 */
export class WaitingAnswers {
  readonly #byConnection = new WeakMap<Socket, Set<ServerResponse>>()

  /** To be told of every request before it is served. */
  note({ socket }: IncomingMessage, response: ServerResponse): void {
    // It has the socket, so Node tells it.
    if (response.socket !== null) return
    const known = this.#byConnection.get(socket)
    const waiting = known ?? new Set()
    if (known === undefined) {
      this.#byConnection.set(socket, waiting)
      socket.once('close', () => waiting.forEach(close))
    }
    waiting.add(response)
    response.once('close', () => waiting.delete(response))
  }
}

function close(response: ServerResponse): void {
  response.destroy()
  response.emit('close')
}
