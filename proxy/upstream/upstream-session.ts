import {
  constants,
  connect,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2'
import type { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { TimeoutsSection } from '../../config/model/config.js'
import { codeOf } from '../../base/errors.js'
import type { Route } from '../policy/route-guard.js'
import { headerValue, type RawHeaders } from '../message/headers.js'
import { IdleError, watchIdle } from '../socket/idle-watch.js'
import { informationalLimit } from './informational.js'
import { isRepeatable } from '../message/repeatable.js'
import { Http2Answer } from './answer.js'
import { cutSession, endSession } from '../h2/end-session.js'
import { fromHttp2Fields, rawFields, toHttp2Fields } from '../h2/fields.js'
import { LifeCheck } from '../h2/life-check.js'
import { resetStream } from '../h2/reset-stream.js'
import { StreamResetError, streamError } from '../h2/stream-error.js'
import type { UploadBody } from '../h2/upload-body.js'

/** Upstream servers commonly keep idle connections for 60 s or more; ours end first, so that few are stale. */
const IDLE_LIMIT_MS = 30_000
/** A connection that was quiet for this long is asked whether it lives while it is used again. */
const QUIET_MS = 10_000
/** For how long a connection counts as in use where a request may not be sent twice. */
const MOMENT_MS = 1_000
/** Uploads that wait to be sent and headers, of all streams of a connection; Node's 10 refuses answers above it. */
const MAX_SESSION_MEMORY_MB = 64
const MAX_HEADER_LIST_BYTES = 64 * 1024
/** As many as that has room for: RFC 9113, 6.5.2 counts 32 bytes for each besides its text. Node's own 128 cut off pages. */
const MAX_HEADER_LIST_PAIRS = MAX_HEADER_LIST_BYTES / 32
/** Ours is the far end: 1 MiB a round trip is 20 MB/s at 50 ms, and what a stream nobody reads may hold. */
const STREAM_WINDOW_BYTES = 1024 * 1024
/** All streams together; Node returns it as bytes arrive, so no stream holds up the others. */
const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024

export interface Http2Outgoing {
  readonly route: Route
  readonly method: string
  readonly path: string
  readonly headers: RawHeaders
  /** Whether the client reads trailers. */
  readonly trailers: boolean
  readonly body?: Readable
  readonly signal: AbortSignal
  readonly onInformation?: (status: number, headers: RawHeaders) => void
}

/** The reason why a request was not answered. */
interface Http2Failure {
  readonly error: Error
  /**
   * Which requests may be sent again after it: any where upstream cannot have acted on it, those that may be repeated
   * where a connection that had worked was closed under it.
   */
  readonly again: 'any' | 'repeatable' | 'none'
}

/** One connection to an upstream server that many requests share. */
export class UpstreamSession {
  /** Resolves once the server has said how many streams it takes, or the connection is gone. */
  readonly ready: Promise<void>
  /** Where it leads; undefined when it has closed already. */
  readonly address: string | undefined
  readonly #session: ClientHttp2Session
  readonly #socket: TLSSocket
  readonly #timeouts: TimeoutsSection
  #limitKnown = false
  #open = 0
  #answered = false
  #retired = false
  #lastStreamId = Infinity
  #failure: Error | undefined
  readonly #life: LifeCheck
  #idle: NodeJS.Timeout

  /** @param socket its handshake is done, and HTTP/2 was agreed on. */
  constructor(authority: string, socket: TLSSocket, timeouts: TimeoutsSection, onClose: () => void) {
    this.#timeouts = timeouts
    this.#socket = socket
    this.address = socket.remoteAddress
    this.#session = connect(`https://${authority}`, {
      createConnection: () => socket,
      maxSessionMemory: MAX_SESSION_MEMORY_MB,
      maxHeaderListPairs: MAX_HEADER_LIST_PAIRS,
      settings: {
        enablePush: false,
        maxHeaderListSize: MAX_HEADER_LIST_BYTES,
        initialWindowSize: STREAM_WINDOW_BYTES,
      },
    })
    this.#session.on('error', (error: Error) => (this.#failure = error))
    this.#life = new LifeCheck({
      session: this.#session,
      socket,
      idleLimitMs: timeouts.idle,
      isWaiting: () => this.#open > 0,
      onDead: () => {
        // The streams end before the session says why.
        this.#failure = vanished()
        cutSession(this.#session, socket, this.#failure)
      },
    })
    this.#session.on('goaway', (_code: number, lastStreamId: number) => {
      this.#retired = true
      this.#lastStreamId = lastStreamId
    })
    this.#session.once('connect', () => this.#session.setLocalWindowSize(CONNECTION_WINDOW_BYTES))
    this.#session.once('close', () => {
      clearTimeout(this.#idle)
      this.#retired = true
      onClose()
    })
    this.ready = this.#limitsKnown()
    this.#idle = this.#whenIdle()
  }

  /** May take one more request. */
  get free(): boolean {
    if (!this.#limitKnown || this.#retired || this.#session.closed || this.#session.destroyed) return false
    return this.#open < this.#limit
  }

  /** Takes no more requests, and ends with the last that is open. */
  retire(): void {
    this.#retired = true
    if (this.#open === 0) endSession(this.#session, this.#socket)
  }

  /** Resolves with the head of the answer, or with what kept it from coming. */
  send(outgoing: Http2Outgoing, upload?: UploadBody): Promise<Http2Answer | Http2Failure> {
    const repeatable = isRepeatable(outgoing)
    const heard = this.#life.whenQuiet(repeatable ? QUIET_MS : MOMENT_MS)
    if (heard === undefined || repeatable) return this.#exchange(outgoing, upload)
    // What may not be sent twice waits for the answer: a round trip, and only after a silence.
    return heard.then(() => {
      // Those that waited along may have filled it up by now.
      if (!this.free) return { error: this.#failure ?? vanished(), again: 'any' }
      if (outgoing.signal.aborted)
        return { error: new StreamResetError(constants.NGHTTP2_CANCEL), again: 'none' }
      return this.#exchange(outgoing, upload)
    })
  }

  #exchange(outgoing: Http2Outgoing, upload?: UploadBody): Promise<Http2Answer | Http2Failure> {
    let stream: ClientHttp2Stream
    try {
      stream = this.#request(outgoing)
    } catch (error) {
      // Closed since it was chosen, or headers that HTTP/2 cannot carry.
      const closed = /^ERR_HTTP2_(INVALID|GOAWAY)_SESSION$/.test(codeOf(error) ?? '')
      return Promise.resolve({
        error: error instanceof Error ? error : new Error(String(error)),
        again: closed ? 'any' : 'none',
      })
    }
    const answer = new Http2Answer(stream)
    const { onInformation, signal } = outgoing
    const cancel = (): void => this.#cancel(stream)
    upload?.sendOn(stream, cancel)
    return new Promise((resolve) => {
      // Whoever gives up does not wait for the stream to close, which takes a connection that still works.
      const giveUp = (error: Error): void => {
        resolve({ error, again: 'none' })
        cancel()
      }
      const left = (): void => giveUp(new StreamResetError(constants.NGHTTP2_CANCEL))
      const countInformational = informationalLimit()
      stream.on('headers', (fields: Fields, _flags: number, raw?: string[]) => {
        const tooMany = countInformational()
        if (tooMany !== undefined) giveUp(tooMany)
        else onInformation?.(statusOf(fields), fromHttp2Fields(rawFields(fields, raw)))
      })
      signal.addEventListener('abort', left, { once: true })
      stream.once('close', () => signal.removeEventListener('abort', left))
      limitIdling(stream, answer, outgoing.body, this.#timeouts.idle, giveUp)
      stream.once('response', (fields: Fields, flags: number, raw?: string[]) => {
        this.#answered = true
        this.#life.noteAnswer()
        answer.begin(
          statusOf(fields),
          rawFields(fields, raw),
          (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
        )
        resolve(answer)
      })
      stream.on('error', () => undefined)
      stream.once('close', () => resolve(this.#failureOf(stream)))
    })
  }

  get #limit(): number {
    // RFC 9113, 6.5.2: not said means not limited.
    return this.#session.remoteSettings?.maxConcurrentStreams ?? Infinity
  }

  #request({ method, path, headers, trailers, body }: Http2Outgoing): ClientHttp2Stream {
    const stream = this.#session.request(
      {
        ...toHttp2Fields(headers),
        ':method': method,
        ':scheme': 'https',
        ':authority': headerValue(headers, 'host'),
        ':path': path,
        ...(trailers ? { te: 'trailers' } : {}),
      },
      // `resetStream` needs `waitForTrailers`.
      { endStream: body === undefined, waitForTrailers: body !== undefined },
    )
    this.#open += 1
    clearTimeout(this.#idle)
    stream.once('close', () => {
      this.#open -= 1
      this.#life.noteRead()
      if (this.#open > 0) return
      // One that Node has destroyed for what the server sent may wait for a write for ever.
      if (this.#retired || this.#session.destroyed) endSession(this.#session, this.#socket)
      else this.#idle = this.#whenIdle()
    })
    return stream
  }

  /** A stream closes when its reset has left; where nothing leaves any more, the connection is cut. */
  #cancel(stream: ClientHttp2Stream): void {
    if (stream.closed) return
    const timer = setTimeout(() => cutSession(this.#session, this.#socket), this.#timeouts.idle).unref()
    stream.once('close', () => clearTimeout(timer))
    resetStream(stream, constants.NGHTTP2_CANCEL)
  }

  #failureOf(stream: ClientHttp2Stream): Http2Failure {
    const reset = streamError(stream)
    // RFC 9113, 8.7: refused, or beyond what GOAWAY says was looked at. Without a number it never left.
    const untouched =
      reset.http2Code === constants.NGHTTP2_REFUSED_STREAM ||
      stream.id === undefined ||
      stream.id > this.#lastStreamId
    // As for HTTP/1.1 (RFC 9112, 9.3.1): a connection that worked and then was closed under a new request.
    const stale = this.#answered && this.#session.destroyed
    return { error: this.#failure ?? reset, again: untouched ? 'any' : stale ? 'repeatable' : 'none' }
  }

  #limitsKnown(): Promise<void> {
    return new Promise((resolve) => {
      // A server says its limits first of all (RFC 9113, 3.4); one that does not is not there.
      const giveUp = (): void => cutSession(this.#session, this.#socket, vanished())
      const timer = setTimeout(giveUp, this.#timeouts.connect)
      const settle = (): void => {
        clearTimeout(timer)
        this.#limitKnown = true
        resolve()
      }
      this.#session.once('remoteSettings', settle)
      this.#session.once('close', settle)
    })
  }

  #whenIdle(): NodeJS.Timeout {
    return setTimeout(() => endSession(this.#session, this.#socket), IDLE_LIMIT_MS)
  }
}

type Fields = IncomingHttpHeaders & IncomingHttpStatusHeader

function statusOf(fields: Fields): number {
  return Number(fields[':status'] ?? 0)
}

/** While the answer is waited for as well as in its body. Other streams of the connection go on. */
function limitIdling(
  stream: ClientHttp2Stream,
  answer: Http2Answer,
  body: Readable | undefined,
  limitMs: number,
  onIdle: (error: IdleError) => void,
): void {
  let moved = 0
  body?.on('data', (chunk: Buffer) => (moved += chunk.length))
  // As over HTTP/1.1, where every byte counts: a server that says 102 is at work.
  stream.on('headers', () => (moved += 1))
  const stop = watchIdle({
    limitMs,
    progress: () => moved + answer.received,
    onIdle() {
      const starved = body !== undefined && !body.readableEnded && body.readableLength === 0
      const error = new IdleError(starved && !stream.writableNeedDrain ? 'client' : 'upstream', limitMs)
      answer.destroy(error)
      onIdle(error)
    },
  })
  stream.once('close', stop)
}

function vanished(): NodeJS.ErrnoException {
  return Object.assign(new Error('the connection no longer answers'), { code: 'ETIMEDOUT' })
}
