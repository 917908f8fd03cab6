import type { Socket } from 'node:net'
import type { ClientRequest, ClientResponse } from '../message/message.js'
import { sayClosed, type Counted } from '../watch/dead-watch.js'
import type { RequestTarget } from '../message/request-target.js'

/** A path may be as long as a request's head. */
const MAX_PATH_LENGTH = 512

/** `deciding` until the policy has spoken, `waiting` for an answer, which `answering` hands on; or `switched`. */
type LiveState = 'deciding' | 'waiting' | 'answering' | 'switched'

/** A request under way, without anything that could be a secret: no query, no headers. */
export interface LiveRequest {
  /** Counts up from 1. */
  readonly id: number
  readonly method: string
  /** Absent while it is not decided. */
  readonly host?: string
  readonly path?: string
  readonly state: LiveState
  /** Sent to the client: over HTTP/2 of the body, otherwise with heads and TLS. */
  readonly bytes: number
  readonly age_ms: number
}

interface Live {
  readonly view: () => LiveRequest
  readonly response: ClientResponse
  /** Its client's. */
  readonly socket: Socket
}

interface Tunnel {
  readonly client: Socket
  readonly upstream: Socket
}

/** Tells of one request as it goes on. */
export interface Witness {
  decided(to: RequestTarget): void
  admitted(): void
  switched(): void
  /** How it was logged. */
  ended(status: number, cache: 'HIT' | 'MISS' | undefined): void
  /** It is over. */
  gone(): void
}

/** Requests that have ended alike. */
interface Ended {
  readonly status: number
  readonly cache: 'hit' | 'miss' | 'none'
  readonly count: number
}

/** The requests under way, and how many have ended how. */
export class Traffic {
  readonly #now: () => number
  readonly #live = new Map<number, Live>()
  readonly #tunnels = new Set<Tunnel>()
  readonly #ended = new Map<string, Ended>()
  #lastId = 0
  #durationMs = 0

  /** @param now milliseconds, monotonic. */
  constructor(now: () => number) {
    this.#now = now
  }

  begin({ method = '' }: ClientRequest, response: ClientResponse, socket: Socket): Witness {
    const id = (this.#lastId += 1)
    const began = this.#now()
    const sentBefore = socket.bytesWritten
    let state: LiveState = 'deciding'
    let goal: Pick<LiveRequest, 'host' | 'path'> = {}
    const view = (): LiveRequest => ({
      id,
      method,
      ...goal,
      state: state === 'waiting' && response.headersSent ? 'answering' : state,
      bytes: response.bodyBytes ?? socket.bytesWritten - sentBefore,
      age_ms: Math.round(this.#now() - began),
    })
    this.#live.set(id, { view, response, socket })
    return {
      decided: ({ target, path }) => {
        goal = { host: target.authority, path: path.split('?', 1)[0]?.slice(0, MAX_PATH_LENGTH) ?? '' }
      },
      admitted: () => (state = 'waiting'),
      switched: () => (state = 'switched'),
      ended: (status, cache) => {
        this.#durationMs += this.#now() - began
        this.#count(status, cache === undefined ? 'none' : cache === 'HIT' ? 'hit' : 'miss')
      },
      gone: () => this.#live.delete(id),
    }
  }

  /** Requests under way. */
  get size(): number {
    return this.#live.size
  }

  /** The oldest first. */
  live(): readonly LiveRequest[] {
    return [...this.#live.values()].map(({ view }) => view())
  }

  /** Notes a tunnel in which nobody looks at the bytes; returns what ends that. */
  tunnel(client: Socket, upstream: Socket): () => void {
    const tunnel = { client, upstream }
    this.#tunnels.add(tunnel)
    return () => this.#tunnels.delete(tunnel)
  }

  get tunnels(): number {
    return this.#tunnels.size
  }

  /** For the watch. A request is over with its client, a tunnel with both its sides. */
  *countedRequests(): Generator<Counted> {
    for (const [id, live] of this.#live) {
      const { response, socket } = live
      const letGo = (): void => {
        this.#live.delete(id)
        sayClosed(response)
      }
      yield { key: live, over: response.destroyed || socket.destroyed, letGo }
    }
  }

  *countedTunnels(): Generator<Counted> {
    for (const tunnel of this.#tunnels) {
      const { client, upstream } = tunnel
      const letGo = (): void => {
        this.#tunnels.delete(tunnel)
        for (const side of [client, upstream]) if (!side.closed) sayClosed(side)
      }
      yield { key: tunnel, over: client.destroyed && upstream.destroyed, letGo }
    }
  }

  /** Since the start. */
  ended(): readonly Ended[] {
    return [...this.#ended.values()]
  }

  /** Of all requests that have ended, together. */
  get durationMs(): number {
    return this.#durationMs
  }

  #count(status: number, cache: Ended['cache']): void {
    const key = `${status} ${cache}`
    this.#ended.set(key, { status, cache, count: (this.#ended.get(key)?.count ?? 0) + 1 })
  }
}
