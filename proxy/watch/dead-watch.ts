import type { Socket } from 'node:net'
import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import { inodeOf, withoutConnection } from './kernel-sockets.js'

/** Each costs a system call of 2 µs: half a millisecond, then the event loop goes on. */
const SOCKETS_A_TURN = 250

export type CountedKind = 'connection' | 'request' | 'tunnel' | 'upstream'
export const KINDS: readonly CountedKind[] = ['connection', 'request', 'tunnel', 'upstream']

/** A thing that we count, which is nothing without the connections it is made of. */
export interface Counted {
  /** The same object at each look. */
  readonly key: object
  /** Whether it is over, as far as we can tell without the kernel. */
  readonly over: boolean
  letGo(): void
}

export interface DeadWatchOptions {
  readonly intervalMs: number
  /** Connections, each a socket of the kernel's. */
  readonly sockets: Readonly<Record<'connection' | 'upstream', () => Iterable<Socket>>>
  /** What is made of them. */
  readonly others: Readonly<Record<'request' | 'tunnel', () => Iterable<Counted>>>
  /** One that lives for certain: if the kernel's tables do not have it, they are not ours. */
  readonly witness: () => number | undefined
  readonly logger: Logger
}

/**
 * Looks every now and then for what we count and is dead: a socket that the kernel has no connection for, or that was
 * destroyed and never closed; a request whose client has gone. Each should have ended by an event that did not come.
 * It is let go of when it was dead at two looks, nothing having moved between them.
 *
 * Where there is no Linux it does nothing.
 */
export class DeadWatch {
  readonly #options: DeadWatchOptions
  readonly #letGo: Record<CountedKind, number> = { connection: 0, request: 0, tunnel: 0, upstream: 0 }
  /** Found dead at the last look, with the bytes that had moved. */
  #dead = new Map<object, { readonly kind: CountedKind; readonly moved: number }>()
  /** What had moved at the last look: what moves lives. */
  #moved = new Map<Socket, number>()
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(options: DeadWatchOptions) {
    this.#options = options
  }

  start(): void {
    if (process.platform !== 'linux') return
    this.#timer = setInterval(() => {
      this.look().catch(() => undefined)
    }, this.#options.intervalMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Seen dead at the last look, and still counted. */
  dead(kind: CountedKind): number {
    return [...this.#dead.values()].filter((found) => found.kind === kind).length
  }

  /** Since the start. */
  letGo(kind: CountedKind): number {
    return this.#letGo[kind]
  }

  findings(): readonly string[] {
    const said = (count: (kind: CountedKind) => number): string =>
      KINDS.filter((kind) => count(kind) > 0)
        .map((kind) => `${count(kind)} ${NAMES[kind]}`)
        .join(', ')
    const dead = said((kind) => this.dead(kind))
    const letGo = said((kind) => this.letGo(kind))
    return [
      ...(dead === '' ? [] : [`counted though their peers are gone: ${dead}`]),
      ...(letGo === '' ? [] : [`let go of since the start, long after their peers had gone: ${letGo}`]),
    ]
  }

  /** One look. Never rejects. */
  async look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      await this.#look()
    } catch (error) {
      this.#options.logger.debug({ reason: reasonOf(error) }, 'cannot look for dead connections')
      this.stop()
    } finally {
      this.#looking = false
    }
  }

  async #look(): Promise<void> {
    const { sockets, others } = this.#options
    const before = this.#dead
    const dead = (this.#dead = new Map())
    const found = (kind: CountedKind, key: object, moved: number, letGo: () => void): void => {
      const known = before.get(key)
      if (known?.kind !== kind || known.moved !== moved) dead.set(key, { kind, moved })
      else this.#end(kind, letGo)
    }
    for (const kind of ['request', 'tunnel'] as const) {
      for (const { key, over, letGo } of others[kind]()) if (over) found(kind, key, 0, letGo)
    }
    const moved = this.#moved
    this.#moved = new Map()
    const still: [CountedKind, Socket][] = []
    for (const kind of ['connection', 'upstream'] as const) {
      for (const socket of sockets[kind]()) {
        const bytes = socket.bytesRead + socket.bytesWritten
        this.#moved.set(socket, bytes)
        if (socket.destroyed) found(kind, socket, bytes, () => sayClosed(socket))
        else if ((moved.get(socket) ?? bytes) === bytes) still.push([kind, socket])
      }
    }
    for (const [kind, socket] of await this.#withoutKernel(still)) {
      found(kind, socket, socket.bytesRead + socket.bytesWritten, () => socket.destroy())
    }
  }

  async #withoutKernel(still: readonly [CountedKind, Socket][]): Promise<[CountedKind, Socket][]> {
    const byInode = new Map<number, [CountedKind, Socket]>()
    for (const [at, counted] of still.entries()) {
      if (at % SOCKETS_A_TURN === SOCKETS_A_TURN - 1) await new Promise(setImmediate)
      const [, socket] = counted
      // We have ended it and are still to read what has come: the kernel keeps that, and no connection.
      if (socket.destroyed || (socket.writableEnded && !socket.readableEnded)) continue
      const inode = inodeOf(socket)
      if (inode !== undefined) byInode.set(inode, counted)
    }
    const witness = this.#options.witness()
    if (byInode.size === 0 || witness === undefined) return []
    const gone = await withoutConnection([...byInode.keys(), witness])
    if (gone.has(witness)) return []
    return [...byInode]
      .filter(([inode, [, socket]]) => gone.has(inode) && !socket.destroyed && inodeOf(socket) === inode)
      .map(([, counted]) => counted)
  }

  #end(kind: CountedKind, letGo: () => void): void {
    this.#letGo[kind] += 1
    this.#options.logger.warn({ kind: NAMES[kind] }, 'let go of what was counted though its peer is gone')
    letGo()
  }
}

interface Closable {
  readonly destroyed: boolean
  destroy(): unknown
  emit(event: 'close'): boolean
}

/** Whoever waits for it is told what nobody else will say. */
export function sayClosed(stream: Closable): void {
  if (!stream.destroyed) stream.destroy()
  stream.emit('close')
}

const NAMES: Readonly<Record<CountedKind, string>> = {
  connection: 'connections of clients',
  request: 'requests',
  tunnel: 'tunnels',
  upstream: 'connections to upstream',
}
