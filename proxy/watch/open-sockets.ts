import type { Socket } from 'node:net'

/** Sockets from their making to their end. */
export class OpenSockets {
  readonly #sockets = new Set<Socket>()

  add<S extends Socket>(socket: S): S {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    return socket
  }

  get size(): number {
    return this.#sockets.size
  }

  [Symbol.iterator](): IterableIterator<Socket> {
    return this.#sockets.values()
  }
}
