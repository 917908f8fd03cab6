import { STATUS_CODES, type ServerResponse } from 'node:http'

/** An answer that is not what was asked for, as RFC 9457 has it; `type` is left out, so it is "about:blank". */
export interface Problem {
  readonly status: number
  /** For a person: what was wrong with this very request. */
  readonly detail: string
  readonly headers?: Readonly<Record<string, string>>
}

export function sendProblem(response: ServerResponse, problem: Problem): void {
  const title = STATUS_CODES[problem.status] ?? 'Error'
  const body = { title, status: problem.status, detail: problem.detail }
  send(response, problem.status, 'application/problem+json', body, problem.headers)
}

export function sendJson(response: ServerResponse, body: object): void {
  send(response, 200, 'application/json', body)
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
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  })
  // Node leaves the body out of an answer to HEAD by itself.
  response.end(text)
}
