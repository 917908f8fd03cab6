import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { codeOf, reasonOf } from '../errors.js'
import { WarmFetchError } from './errors.js'

// warm → our own port → policy → cache → inject → upstream

/** As curl's default would be with `-L`, but finite: a registry's blob takes one, a CDN's perhaps two. */
const MAX_REDIRECTS = 5
/** Of a refusal, what is worth showing. */
const MAX_REASON_BYTES = 2048
/** The proxy gives up on a silent upstream long before; this is for the day when it does not. */
const SILENCE_LIMIT_MS = 10 * 60_000

export interface ProxyAddress {
  readonly host: string
  readonly port: number
  /** `Proxy-Authorization`, where the proxy asks for one. */
  readonly authorization?: string
}

/** Whether a body came from the store, went into it, or did neither. */
export type Kept = 'stored' | 'fetched' | 'not kept'

export interface Fetched {
  readonly message: IncomingMessage
  readonly kept: Kept
  /** Where the redirects ended. */
  readonly url: URL
}

/**
 * A client of our own port. What is warmed goes the way of every other request, so rules, lists, header rules, one
 * fetch for all and verification hold for it too. `https` is asked in absolute form: TLS upstream is the proxy's.
 */
export class ThroughProxy {
  readonly #proxy: () => ProxyAddress
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: 4 })

  constructor(proxy: () => ProxyAddress) {
    this.#proxy = proxy
  }

  /** Resolves with the head of a 2xx or 401 answer. @throws WarmFetchError for every other. */
  async get(url: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Fetched> {
    let at = url
    for (let hops = 0; hops <= MAX_REDIRECTS; hops += 1) {
      const message = await this.#ask(
        at,
        at.origin === url.origin ? headers : withoutCredentials(headers),
        signal,
      )
      const { statusCode: status = 0 } = message
      const location = message.headers.location
      if (status >= 300 && status < 400 && location !== undefined) {
        message.resume()
        at = redirected(at, location)
        continue
      }
      if ((status >= 200 && status < 300) || status === 401)
        return { message, kept: keptBy(message), url: at }
      throw new WarmFetchError(`cannot fetch ${shown(at)}: ${status} ${await reasonIn(message)}`)
    }
    throw new WarmFetchError(`cannot fetch ${shown(url)}: more than ${MAX_REDIRECTS} redirects`)
  }

  /** Ends connections nobody uses. */
  close(): void {
    this.#agent.destroy()
  }

  #ask(url: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingMessage> {
    const { host, port, authorization } = this.#proxy()
    return new Promise((resolve, reject) => {
      const failed = (error: unknown): void =>
        reject(
          signal.aborted
            ? new WarmFetchError('cancelled')
            : new WarmFetchError(`cannot fetch ${shown(url)}: ${brokenOff(error)}`, { cause: error }),
        )
      const request = httpRequest({
        agent: this.#agent,
        host,
        port,
        path: url.href,
        headers: {
          ...headers,
          Host: url.host,
          ...(authorization === undefined ? {} : { 'Proxy-Authorization': authorization }),
        },
        signal,
        timeout: SILENCE_LIMIT_MS,
      })
      request.once('timeout', () => request.destroy(new Error('nothing came for ten minutes')))
      request.once('error', failed)
      request.once('response', resolve)
      request.end()
    })
  }
}

/** The proxy resets the connection when a body is not what it should be. */
export function brokenOff(error: unknown): string {
  if (codeOf(error) !== 'ECONNRESET') return reasonOf(error)
  return 'it broke off; the log of the proxy says why'
}

/** A URL without what may be a credential or a signature. */
export function shown({ origin, pathname }: URL): string {
  return `${origin}${pathname}`
}

function redirected(from: URL, location: string): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined
  if (to === undefined || (to.protocol !== 'https:' && to.protocol !== 'http:')) {
    throw new WarmFetchError(`cannot fetch ${shown(from)}: it redirects to something that is no web address`)
  }
  return to
}

function withoutCredentials(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'),
  )
}

function keptBy({ headers }: IncomingMessage): Kept {
  switch (headers['x-cache']) {
    case 'HIT':
      return 'stored'
    case 'MISS':
      return 'fetched'
    default:
      return 'not kept'
  }
}

/** The first line of an answer that says no: the proxy's own ones say why there. */
async function reasonIn(message: IncomingMessage): Promise<string> {
  const { statusMessage = '' } = message
  if (!/^text\/plain\b/.test(message.headers['content-type'] ?? '')) {
    message.resume()
    return statusMessage
  }
  let text = ''
  try {
    for await (const piece of message) {
      text += String(piece)
      if (text.length >= MAX_REASON_BYTES) break
    }
  } catch {
    return statusMessage
  }
  const line =
    text
      .split(/[\r\n]/, 1)[0]
      ?.replace(/[^\x20-\x7e]/g, '?')
      .slice(0, 500) ?? ''
  return line === '' ? statusMessage : line
}
