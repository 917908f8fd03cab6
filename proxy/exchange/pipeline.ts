import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { whenClosed } from '../../base/http/waiting-answers.js'
import { closeWith } from '../message/close-with.js'
import { refuseUpload, renderRefusal, type Refusal } from './refusal.js'
import { resetClient } from './relay.js'
import { isSafe } from '../message/repeatable.js'
import type { ClientConnection } from './exchange.js'

/** Most answers are there by then, without another word. Every wait is twice as long as the one before. */
const FIRST_WORD_MS = 1_000

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/**
 * The requests of one HTTP/1.1 connection whose answers are not complete. Node answers them in order; what is
 * here keeps that order where Node's parser or a refusal ends the connection in the middle.
 */
export class Pipeline {
  readonly #client: ClientConnection
  readonly #open: Exchange[] = []
  #last: Exchange | undefined
  #lastUnsafe: Exchange | undefined
  #ending = false

  constructor(client: ClientConnection) {
    this.#client = client
  }

  /**
   * Notes a request that is about to be served. False when it must not be: after an answer that closes the
   * connection nothing on it is a request any more (RFC 9112, 9.6), it may be the rest of an upload. A promise of that
   * where it is not its turn yet: requests are served at the same time only if all of them are safe (9.3.2).
   */
  admits(request: IncomingMessage, response: ServerResponse): boolean | Promise<boolean> {
    if (this.#ending || this.#open.some((exchange) => !exchange.response.shouldKeepAlive)) return false
    const exchange = { request, response }
    // What changes nothing does not show in which order it was done.
    const changesNothing = isSafe(request.method ?? '')
    const before = changesNothing ? this.#lastUnsafe : this.#last
    const waits = before !== undefined && this.#open.includes(before)
    this.#open.push(exchange)
    this.#last = exchange
    if (!changesNothing) this.#lastUnsafe = exchange
    response.once('close', () => {
      this.#open.splice(this.#open.indexOf(exchange), 1)
      if (!response.shouldKeepAlive) this.#ending = true
    })
    if (!waits) return true
    return new Promise((resolve) => {
      whenClosed(before.response, () => resolve(!this.#ending && !response.destroyed))
    })
  }

  /**
   * The client has ended its side: it waits for its answer, or it has left, which looks the same until something is
   * sent to it. So it is told now and then that it is heard, which every client of HTTP/1.1 has to expect and pass over
   * (RFC 9110, 15.2); the system of one that has left answers with a reset.
   */
  halfClosed(waitMs = FIRST_WORD_MS): void {
    const { socket } = this.#client
    const timer = setTimeout(() => {
      const first = this.#open[0]
      if (first === undefined) return
      const { request, response } = first
      const waits = !response.headersSent && response.socket !== null
      if (waits && request.httpVersionMinor > 0) response.writeContinue()
      this.halfClosed(waitMs * 2)
    }, waitMs)
    socket.once('close', () => clearTimeout(timer))
  }

  /** Answers bytes that are no HTTP, in their turn, and ends the connection. */
  refuse(socket: Duplex, refusal: Refusal): void {
    if (this.#ending) return
    this.#ending = true
    const last = this.#last
    const unfinished = last !== undefined && !last.request.complete
    if (unfinished && last.response.writableEnded) {
      // Its answer is out; a second one would be taken for that of the next request.
      socket.destroy()
    } else if (unfinished && last.response.headersSent) {
      resetClient(this.#client.socket, last.response)
    } else if (unfinished) {
      refuseUpload(last.response, refusal)
    } else {
      const waiting = this.#open.at(-1)
      const say = (): void => {
        if (socket.writable) closeWith(socket, renderRefusal(refusal))
      }
      if (waiting === undefined) say()
      else waiting.response.once('close', say)
    }
  }
}
