import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { tellFault } from '../../base/process/entry.js'
import type { Logger } from '../../base/log/logger.js'
import { whenClosed } from '../../base/http/waiting-answers.js'
import type { CacheRequest, FetchVariation, UpstreamResponse } from '../cache/contract/contract.js'
import type { ResponseCache } from '../cache/response-cache.js'
import { watchClient } from '../socket/client-stall.js'
import type { Route } from '../policy/route-guard.js'
import type { Answer, Upstream } from '../upstream/upstream.js'
import { FramingError, assertFraming } from '../message/framing.js'
import type { Gate } from '../policy/gate.js'
import { headerValue, via, type RawHeaders } from '../message/headers.js'
import { StreamResetError } from '../h2/stream-error.js'
import { takesTrailers } from '../h2/fields.js'
import type { ClientRequest, ClientResponse } from '../message/message.js'
import { bodyFollows, requestHeaders, withHost } from '../message/outgoing-headers.js'
import { OverloadError } from '../socket/overload.js'
import { assertNoLoop } from '../upstream/loop.js'
import { refusalOf, refuseUpload, sendRefusal } from './refusal.js'
import { informer, relay, resetClient, upstreamResponse } from './relay.js'
import {
  namedSite,
  requestTarget,
  type RequestTarget,
  type TunnelContext,
} from '../message/request-target.js'
import type { Settings } from './settings.js'
import type { Target } from '../../base/net/target.js'
import type { Traffic, Witness } from './traffic.js'
import type { Flowed } from '../socket/tunnel-log.js'

// client → one authority → policy → cache → inject → upstream → client

/** Most requests are over within a second. */
const RETRY_AFTER_S = 1

/** The connection a request came on. */
export interface ClientConnection {
  /** The TCP socket itself, below any TLS: what is reset when a body breaks off. */
  readonly socket: Socket
  readonly tunnel?: TunnelContext
}

interface ExchangeDeps {
  readonly settings: () => Settings
  readonly gate: Gate
  readonly upstream: () => Upstream
  readonly cache: ResponseCache
  /** What we call ourselves in `Via`: no other proxy has this name, not even another one like us. */
  readonly pseudonym: string
  readonly logger: Logger
  readonly traffic: Traffic
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** One request that has been let through: where it goes, and what may be sent there. */
interface Admitted {
  readonly to: RequestTarget
  readonly route: Route
  /** Of whoever asks: the TCP connection. */
  readonly client: Socket
  readonly witness: Witness
}

/** How a finished exchange is logged. */
interface Outcome {
  readonly status: number
  readonly cache?: 'HIT' | 'MISS'
  readonly problem?: string
  /** After another protocol was switched to. */
  readonly flowed?: Flowed
}

export class Exchanges {
  readonly #deps: ExchangeDeps
  /** Sites to whose address a tunnel leads, as the last of its requests named them. */
  readonly #sites = new WeakMap<TunnelContext, Target>()

  constructor(deps: ExchangeDeps) {
    this.#deps = deps
  }

  get pseudonym(): string {
    return this.#deps.pseudonym
  }

  /** For which nothing may come or go, in milliseconds. */
  get idleMs(): number {
    return this.#deps.settings().timeouts.idle
  }

  /**
   * Answers one request, from the cache or from upstream. Rejects as `run` does.
   *
   * @param turn resolves with whether it is to be served still, where others come before it.
   */
  serve(
    request: ClientRequest,
    response: ClientResponse,
    client: ClientConnection,
    turn?: Promise<boolean>,
  ): Promise<void> {
    const answer = (admitted: Admitted): Promise<Outcome> => this.#answer(request, response, client, admitted)
    return this.run(request, response, client, answer, turn)
  }

  /**
   * Lets `answer` answer a request that has one authority and passes the policy. What goes wrong is answered with
   * its reason, or cuts the connection if an answer has begun. Rejects only for a fault of ours in what is left to do.
   */
  async run(
    request: ClientRequest,
    response: ClientResponse,
    client: ClientConnection,
    answer: (admitted: Admitted) => Promise<Outcome>,
    turn?: Promise<boolean>,
  ): Promise<void> {
    const started = this.#deps.now()
    // What we say ourselves; everything else of the head is upstream's.
    response.sendDate = false
    const stop = watchClient(response, client.socket, this.idleMs, () => resetClient(client.socket, response))
    const witness = this.#deps.traffic.begin(request, response, client.socket)
    let to: RequestTarget | undefined
    try {
      this.#assertRoom()
      assertFraming(request)
      // A tunnel was asked for its credentials when it was opened.
      if (client.tunnel === undefined) this.#deps.settings().auth.check(request.rawHeaders, client.socket)
      assertNoLoop(request.rawHeaders, this.pseudonym)
      const { tunnel } = client
      to = requestTarget(
        request,
        tunnel?.target.isAddress === true ? await this.#named(request, tunnel, client.socket) : tunnel,
      )
      witness.decided(to)
      if (turn !== undefined && !(await turn)) return
      this.#log(request, to, await answer(await this.#admit(request, to, client, witness)), started, witness)
    } catch (error) {
      this.#fail(error, request, response, client, to, started, witness)
    } finally {
      witness.gone()
      // A small answer is out of our hands before the client has taken it.
      if (response.writableEnded && !response.writableFinished && !response.destroyed)
        response.once('close', stop)
      else stop()
    }
  }

  /**
   * A tunnel to an address as one to the site that is named inside, where that name leads there. Asked once for a
   * connection and a name; where a request goes is decided anew each time, by the name.
   *
   * @throws BlockedError for a name that may not be reached.
   */
  async #named(request: ClientRequest, tunnel: TunnelContext, socket: Socket): Promise<TunnelContext> {
    const site = namedSite(request, tunnel)
    if (site === undefined) return tunnel
    const known = this.#sites.get(tunnel)
    if (known?.host === site.host) return { ...tunnel, target: known }
    if (!(await this.#deps.gate.leadsTo(site, tunnel.target.host, socket))) return tunnel
    this.#sites.set(tunnel, site)
    return { ...tunnel, target: site }
  }

  /** @throws OverloadError */
  #assertRoom(): void {
    const { requests } = this.#deps.settings().limits
    if (this.#deps.traffic.size <= requests) return
    throw new OverloadError(`the proxy serves ${requests} requests (limits.requests)`, RETRY_AFTER_S)
  }

  /**
   * Asks the policy, and where only addresses can tell, the resolver.
   *
   * @throws BlockedError, DialForbiddenError or ResolveError
   */
  async #admit(
    { method = 'GET' }: ClientRequest,
    to: RequestTarget,
    { socket }: ClientConnection,
    witness: Witness,
  ): Promise<Admitted> {
    const { gate } = this.#deps
    const admission = gate.admit(to.target, { kind: 'request', method, path: to.path }, socket)
    if (admission.byAddress) await admission.route.check()
    gate.record(admission)
    witness.admitted()
    return { to, route: admission.route, client: socket, witness }
  }

  /** Sends the client's request on, with the operator's headers; `headers` are end-to-end ones. */
  send(
    request: ClientRequest,
    { to, route, client }: Admitted,
    headers: RawHeaders,
    signal: AbortSignal,
    extra: {
      readonly method?: string
      readonly body?: Readable
      readonly inform?: ClientResponse
      readonly http2?: boolean
      /** By which the conditions of header rules are judged, where they are not those that are sent. */
      readonly judged?: RawHeaders
    } = {},
  ): Promise<Answer> {
    const { method = request.method ?? 'GET', inform, body, http2 = false, judged = headers } = extra
    return this.#deps.upstream().send({
      route,
      client,
      scheme: to.scheme,
      method,
      path: to.path,
      headers: withHost(this.#deps.settings().injector.apply(to, method, headers, judged), to),
      signal,
      http2,
      trailers: takesTrailers(request.rawHeaders),
      ...(body === undefined ? {} : { body }),
      ...(inform === undefined ? {} : { onInformation: informer(inform) }),
    })
  }

  async #answer(
    request: ClientRequest,
    response: ClientResponse,
    client: ClientConnection,
    admitted: Admitted,
  ): Promise<Outcome> {
    const { cache } = this.#deps
    const cacheable = cacheRequest(request, admitted.to)
    // What upstream says to who is logged in is for nobody else, and their later requests do not show that they are.
    const { scheme, target } = admitted.to
    const isPersonal = this.#deps.upstream().hasLogin(client.socket, scheme, target, request.rawHeaders)
    if (!isPersonal && cache.covers(cacheable)) {
      const outcome = await cache.respond(cacheable, response, (signal, variation) =>
        this.#fetchShared(request, admitted, signal, variation),
      )
      switch (outcome.kind) {
        case 'served':
          return outcome
        case 'relay':
          if (mayBeSigned(request, outcome.response.status)) {
            outcome.response.body.destroy()
            break
          }
          await relay(outcome.response, response, client.socket)
          return { status: outcome.response.status, cache: 'MISS' }
        case 'bypass':
          break
      }
    }
    return this.#forward(request, response, client, admitted, cacheable)
  }

  async #forward(
    request: ClientRequest,
    response: ClientResponse,
    client: ClientConnection,
    admitted: Admitted,
    cacheable: CacheRequest,
  ): Promise<Outcome> {
    const gone = new AbortController()
    // Once upstream's answer is complete, so is what it wants of an upload.
    whenClosed(response, () => gone.abort())
    const hasBody = bodyFollows(request)
    const answer = await this.send(
      request,
      admitted,
      requestHeaders(request, hasBody, this.pseudonym),
      gone.signal,
      {
        inform: response,
        http2: request.httpVersionMajor >= 2,
        ...(hasBody ? { body: request } : {}),
      },
    )
    if (answer.kind === 'upgraded') {
      answer.socket.destroy()
      throw new Error('upstream switched protocols without being asked')
    }
    const upstream = upstreamResponse(answer.message)
    // Before the client knows: what it asks for next is to be what it has made of it.
    this.#deps.cache.forwarded(cacheable, upstream)
    await relay(upstream, response, client.socket)
    return { status: upstream.status }
  }

  /** For the cache, in its words: what else the client said is not for those who get the answer later. */
  async #fetchShared(
    request: ClientRequest,
    admitted: Admitted,
    signal: AbortSignal,
    { method, headers = [] }: FetchVariation = {},
  ): Promise<UpstreamResponse> {
    const asked = [...headers, 'Via', via(request.httpVersion, this.pseudonym), 'Accept-Encoding', 'identity']
    const judged = request.rawHeaders
    const { target, scheme, path } = admitted.to
    const canonical = { ...admitted, to: { target, scheme, path } }
    const answer = await this.send(request, canonical, asked, signal, { method: method ?? 'GET', judged })
    if (answer.kind === 'upgraded') throw new Error('upstream switched protocols without being asked')
    return upstreamResponse(answer.message)
  }

  #fail(
    error: unknown,
    request: ClientRequest,
    response: ClientResponse,
    client: ClientConnection,
    to: RequestTarget | undefined,
    started: number,
    witness: Witness,
  ): void {
    // The client has its answer: what fails then is no reason for another.
    if (response.writableFinished) throw error
    const authority = to?.target.authority ?? client.tunnel?.target.authority ?? 'the target'
    const refusal = refusalOf(error, authority)
    if (response.destroyed || client.socket.destroyed) {
      this.#log(request, to, { status: 499 }, started, witness, 'the client left')
      return
    }
    if (refusal.type === 'proxy_internal_error')
      tellFault(this.#deps.logger, { entry: 'exchange', host: authority }, error)
    if (response.headersSent || isGrpcReset(error, request)) {
      // Ended properly, the part would pass for the whole.
      resetClient(client.socket, response, error)
      const problem = `broke off: ${refusal.message}`
      this.#log(request, to, { status: response.statusCode }, started, witness, problem)
    } else {
      // What follows a request that is not understood cannot be told from its rest.
      const isUnread = error instanceof FramingError || (!request.complete && bodyFollows(request))
      if (isUnread) refuseUpload(response, refusal)
      else sendRefusal(response, refusal)
      request.resume()
      this.#log(request, to, { status: refusal.status }, started, witness, refusal.message)
    }
  }

  /** One line a request; the path without its query, which may hold a signature. */
  #log(
    request: ClientRequest,
    to: RequestTarget | undefined,
    { status, cache, problem: met, flowed }: Outcome,
    started: number,
    witness: Witness,
    problem = met,
  ): void {
    witness.ended(status, cache)
    const level = problem === undefined ? 'info' : 'warn'
    if (!this.#deps.logger.isLevelEnabled(level)) return
    const message = cache === undefined ? 'response' : `cache ${cache.toLowerCase()}`
    this.#deps.logger[level](
      {
        method: request.method,
        host: to?.target.authority,
        path: to?.path.split('?', 1)[0],
        status,
        ...flowed,
        duration: `${Math.round(this.#deps.now() - started)}ms`,
        ...(problem === undefined ? {} : { problem }),
      },
      message,
    )
  }
}

/**
 * Whether a fetch for the cache was refused as one whose signature does not fit is: the client's own words may be what
 * it covers, so they are what upstream is asked next. Only GET and HEAD come here, which may be repeated.
 */
function mayBeSigned({ rawHeaders }: ClientRequest, status: number): boolean {
  const isSigned = headerValue(rawHeaders, 'authorization') !== undefined
  return status === 400 || status === 403 || (status === 401 && isSigned)
}

/** gRPC reads the reason of a failure from the reset itself, and cannot read a page. */
function isGrpcReset(error: unknown, request: ClientRequest): boolean {
  if (!(error instanceof StreamResetError) || request.httpVersionMajor < 2) return false
  return headerValue(request.rawHeaders, 'content-type')?.startsWith('application/grpc') ?? false
}

function cacheRequest(request: ClientRequest, { target, scheme, path }: RequestTarget): CacheRequest {
  const question = path.indexOf('?')
  return {
    method: request.method ?? 'GET',
    scheme,
    authority: target.authority,
    path: question === -1 ? path : path.slice(0, question),
    query: question === -1 ? '' : path.slice(question),
    header: (name) => headerValue(request.rawHeaders, name),
    fields: request.rawHeaders,
  }
}
