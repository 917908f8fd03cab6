import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { codeOf, reasonOf } from '../../base/errors.js'
import { basic, type Credentials } from '../credentials/auth.js'
import { LOOPBACK } from '../../config/model/paths.js'
import { WarmApiError } from './errors.js'

export interface ApiCall {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** With the query. */
  readonly path: string
  /** Sent as JSON. */
  readonly body?: object
  /** Sent as a tar. */
  readonly upload?: Readable
  /** Of `<data>/proxy/api-token`. */
  readonly token?: string
  /** Of `proxy.auth`, where it is on, and there is no token. */
  readonly login?: Credentials
  /** @throws WarmApiError with status 0 when it aborts. */
  readonly signal?: AbortSignal
}

/** Asks the API of a proxy on this machine; resolves with the head of a 2xx answer. @throws WarmApiError */
export function askApi(
  port: number,
  { method, path, body, upload, token, login, signal }: ApiCall,
): Promise<IncomingMessage> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: LOOPBACK,
      port,
      method,
      path,
      ...(signal === undefined ? {} : { signal }),
      headers: {
        ...(token === undefined
          ? login === undefined
            ? {}
            : { Authorization: basic(login) }
          : { Authorization: `Bearer ${token}` }),
        ...(text === undefined
          ? {}
          : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
        ...(upload === undefined ? {} : { 'Content-Type': 'application/x-tar' }),
      },
    })
    request.once('error', (error) => {
      const why =
        codeOf(error) === 'ECONNREFUSED'
          ? `no proxy answers on ${LOOPBACK}:${port}; start it, or name its API's port with --api-port`
          : reasonOf(error)
      reject(new WarmApiError(`cannot ask the proxy: ${why}`, { cause: error }))
    })
    request.once('response', (message) => {
      const { statusCode = 0 } = message
      if (statusCode >= 200 && statusCode < 300) return resolve(message)
      readJson(message).then(
        (answer) => reject(new WarmApiError(errorIn(answer) ?? `the proxy answered ${statusCode}`)),
        () => reject(new WarmApiError(`the proxy answered ${statusCode}`)),
      )
    })
    if (upload === undefined) request.end(text)
    // An early answer says why the rest is not wanted.
    else pipeline(upload, request).catch((error: unknown) => request.destroy(error as Error))
  })
}

/** @throws WarmApiError */
export async function readJson(message: IncomingMessage): Promise<unknown> {
  let text = ''
  try {
    for await (const piece of message.setEncoding('utf8')) text += String(piece)
    return JSON.parse(text) as unknown
  } catch (error) {
    throw new WarmApiError(`cannot read the proxy's answer: ${reasonOf(error)}`, { cause: error })
  }
}

function errorIn(answer: unknown): string | undefined {
  if (typeof answer !== 'object' || answer === null || !('error' in answer)) return undefined
  return typeof answer.error === 'string' ? answer.error : undefined
}
