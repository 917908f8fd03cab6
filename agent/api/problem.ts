import { STATUS_CODES, type ServerResponse } from 'node:http'
import { DiscobotError } from '../../config/errors.js'

/** An answer that is not what was asked for, as RFC 9457 has it; `type` is left out, so it is "about:blank". */
export interface Problem {
  readonly status: number
  /** For a person: what was wrong with this very request. */
  readonly detail: string
  readonly headers?: Readonly<Record<string, string>>
}

/** The request cannot be done, and the client is to know why; whoever handles a route throws it. */
export class RefusedRequestError extends DiscobotError {
  readonly code = 'API_REQUEST_REFUSED'

  constructor(
    readonly problem: Problem,
    options?: ErrorOptions,
  ) {
    super(problem.detail, options)
  }
}

/** Short for throwing a `RefusedRequestError`. */
export function refuse(status: number, detail: string, headers?: Readonly<Record<string, string>>): never {
  throw new RefusedRequestError({ status, detail, ...(headers === undefined ? {} : { headers }) })
}

export function sendProblem(response: ServerResponse, problem: Problem): void {
  const title = STATUS_CODES[problem.status] ?? 'Error'
  const body = { title, status: problem.status, detail: problem.detail }
  send(response, problem.status, 'application/problem+json', body, problem.headers)
}

export function sendJson(response: ServerResponse, body: object, status = 200): void {
  send(response, status, 'application/json', body)
}

/** On every answer: nothing is kept, guessed at, framed, or run by a browser. */
export const SAFE_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // A file of the workspace shown in a browser must not be a page of this origin, which may run commands.
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'cross-origin-resource-policy': 'same-origin',
}

function send(
  response: ServerResponse,
  status: number,
  contentType: string,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  const text = Buffer.from(`${JSON.stringify(body)}\n`)
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': text.length,
    ...SAFE_HEADERS,
    ...headers,
  })
  // Node leaves the body out of an answer to HEAD by itself.
  response.end(text)
}
