import { STATUS_CODES, type ServerResponse } from 'node:http'
import { codeOf, DiscobotError, reasonOf } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import { ControlRefusedError, ControlRequestError } from './errors.js'

export function sendJson(response: ServerResponse, body: object): void {
  send(response, 200, 'application/json', body)
}

/** As RFC 9457 has it, with our stable `code` beside its members; what we did not expect goes into the log. */
export function sendProblem(response: ServerResponse, error: unknown, logger: Logger): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const status = statusOf(error)
  if (status === 500) logger.error({ reason: reasonOf(error) }, 'a request on the control socket failed')
  const known = error instanceof DiscobotError
  if (error instanceof ControlRequestError && error.allow !== undefined)
    response.setHeader('allow', error.allow)
  send(response, status, 'application/problem+json', {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail: known ? error.message : 'the agent failed to answer; its log says why',
    ...(known ? { code: error.code } : {}),
  })
}

function statusOf(error: unknown): number {
  if (error instanceof ControlRequestError) return error.status
  if (error instanceof ControlRefusedError) return 403
  switch (codeOf(error)) {
    case 'SERVICE_UNKNOWN':
      return 404
    case 'SERVICE_START_FAILED':
      return 409
    default:
      // What any other of our errors says is about the state of things, not about the request.
      return error instanceof DiscobotError ? 409 : 500
  }
}

function send(response: ServerResponse, status: number, type: string, body: object): void {
  const text = `${JSON.stringify(body)}\n`
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  })
  response.end(text)
}
