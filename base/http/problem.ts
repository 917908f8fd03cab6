import { STATUS_CODES, type ServerResponse } from 'node:http'
import type { JsonSchema } from './json-schema.js'

type Headers = Readonly<Record<string, string>>

/** An answer that is not what was asked for. */
export interface Problem {
  readonly status: number
  /** For a person: what was wrong with this very request. */
  readonly detail: string
  readonly headers?: Headers
  /** For a program: stable, and listed in docs/errors.md. */
  readonly code?: string
  /** Further members of the page. */
  readonly more?: Readonly<Record<string, unknown>>
}

/** How a server writes its problems. */
export interface ProblemFormat {
  readonly mediaType: string
  readonly schema: JsonSchema
  page(problem: Problem): object
}

/** RFC 9457. `type` is left out, so it is "about:blank". */
export const PROBLEM_DETAILS: ProblemFormat = {
  mediaType: 'application/problem+json',
  schema: {
    type: 'object',
    required: ['title', 'status', 'detail'],
    properties: { title: { type: 'string' }, status: { type: 'integer' }, detail: { type: 'string' } },
  },
  page: ({ status, detail, code, more }) => ({
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    ...(code === undefined ? {} : { code }),
    ...more,
  }),
}

/** The request cannot be done, and the client is to know why; whoever handles a route throws it. */
export class RefusedRequestError extends Error {
  readonly code = 'API_REQUEST_REFUSED'

  constructor(
    readonly problem: Problem,
    options?: ErrorOptions,
  ) {
    super(problem.detail, options)
    this.name = new.target.name
  }
}

/** Short for throwing a `RefusedRequestError`. */
export function refuse(status: number, detail: string, headers?: Headers): never {
  throw new RefusedRequestError({ status, detail, ...(headers === undefined ? {} : { headers }) })
}

export function sendProblem(response: ServerResponse, problem: Problem, format: ProblemFormat): void {
  send(response, problem.status, format.mediaType, format.page(problem), problem.headers)
}

export function sendJson(response: ServerResponse, body: object, status = 200, headers?: Headers): void {
  send(response, status, 'application/json', body, headers)
}

/** On every answer: nothing is kept, guessed at, framed, or run by a browser. */
export const SAFE_HEADERS: Headers = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  // A file of the workspace shown in a browser must not be a page of this origin, which may run commands.
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'Cross-Origin-Resource-Policy': 'same-origin',
}

function send(
  response: ServerResponse,
  status: number,
  contentType: string,
  body: object,
  headers: Headers = {},
): void {
  sendText(response, `${JSON.stringify(body)}\n`, contentType, status, headers)
}

export function sendText(
  response: ServerResponse,
  text: string,
  contentType: string,
  status = 200,
  headers: Headers = {},
): void {
  const bytes = Buffer.from(text)
  response.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': bytes.length,
    ...SAFE_HEADERS,
    ...headers,
  })
  // Node leaves the body out of an answer to HEAD by itself.
  response.end(bytes)
}
