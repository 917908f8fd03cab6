import { askAgent, readLines } from '../../control/client.js'
import { AgentUnreachableError, ControlFailedError } from '../../control/errors.js'
import { EventStream } from '../../../base/http/event-stream.js'
import { refuse, sendJson } from '../../../base/http/problem.js'
import type { Exchange, LeaveReason, Route } from '../../../base/http/route.js'

interface ServicesDeps {
  /** Path of the agent's control socket; absent when we were started by hand. */
  readonly controlSocket?: string
  readonly controlToken?: string
  /** A client that takes nothing for so long is given up. */
  readonly stallMs: number
}

const MAX_LINES = 10_000
const DEFAULT_LINES = 100

const ENTRY = {
  type: 'object',
  properties: {
    seq: { type: 'integer' },
    time: { type: 'string', format: 'date-time' },
    service: { type: 'string' },
    stream: { enum: ['stdout', 'stderr', 'agent'] },
    level: { type: 'string' },
    text: { type: 'string' },
  },
}

const UNREACHABLE = { 503: 'the agent cannot be asked' }
const NAME = { name: { description: 'as in the status; for logs also agent, which is process 1' } }

export function servicesRoutes(deps: ServicesDeps): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/api/services/{name}/logs',
      access: 'read',
      summary: 'What a service has said, and says',
      description:
        'Server-sent events: one a line, whose `data` is a JSON object and whose `id` lets a client go on where it ' +
        'was cut off. An event `lost` stands for lines that a slow reader has missed.',
      params: NAME,
      query: {
        lines: {
          kind: 'whole',
          min: 0,
          max: MAX_LINES,
          description: `of what is there already; ${DEFAULT_LINES} when left out`,
        },
        once: { kind: 'flag', description: 'ends after what is there already' },
      },
      headers: {
        'Last-Event-ID': { description: 'id of the last event that came; takes the place of lines' },
      },
      answers: { 200: { description: 'the lines, oldest first', content: { 'text/event-stream': ENTRY } } },
      problems: { 404: 'there is no such service', 429: 'too many follow the log already', ...UNREACHABLE },
      endless: true,
      handle: (exchange) => sendLogs(deps, exchange),
    },
    {
      method: 'POST',
      path: '/api/services/{name}/restart',
      access: 'write',
      summary: 'Restart a service',
      description: 'Answers when it is ready again; goes on when the client leaves.',
      params: NAME,
      answers: {
        200: {
          description: 'it is ready: its part of the status',
          content: { 'application/json': { type: 'object' } },
        },
        202: {
          description: 'it is the agent API itself, which cannot answer any more',
          content: { 'application/json': { type: 'object' } },
        },
      },
      problems: {
        403: 'it guards the account that the API runs as, as the proxy does',
        404: 'there is no such service',
        409: 'it did not get ready',
        ...UNREACHABLE,
      },
      handle: (exchange) => restart(deps, exchange),
    },
  ]
}

async function sendLogs(deps: ServicesDeps, exchange: Exchange): Promise<void> {
  const { request, response, params, query, signal } = exchange
  const lastId = request.headers['last-event-id']
  if (lastId !== undefined && !/^\d{1,15}$/.test(lastId.toString()))
    refuse(400, 'Last-Event-ID is no id of an event of ours')
  const question = new URLSearchParams({
    service: params['name'] ?? '',
    ...(lastId === undefined
      ? { lines: String(query.whole('lines') ?? DEFAULT_LINES) }
      : { after: lastId.toString() }),
    ...(query.flag('once') ? {} : { follow: '1' }),
  })
  let events: EventStream | undefined
  const onAnswered = (): void => {
    events = new EventStream(response, deps.stallMs)
  }
  try {
    await readLines(socketOf(deps), { path: `/logs?${question.toString()}`, signal, onAnswered }, (line) =>
      events?.send(eventOf(line)),
    )
  } catch (error) {
    // In the middle there is no other way to say that it broke off.
    if (events === undefined) refuseAsAgent(error)
  } finally {
    events?.end()
  }
}

function eventOf(line: string): Parameters<EventStream['send']>[0] {
  const entry = JSON.parse(line) as { readonly seq?: number; readonly lost?: boolean }
  if (entry.lost === true) return { event: 'lost', data: '{}' }
  return { id: String(entry.seq), data: line }
}

async function restart(deps: ServicesDeps, { response, params, signal }: Exchange): Promise<void> {
  const name = params['name'] ?? ''
  try {
    const status = await askAgent(socketOf(deps), {
      method: 'POST',
      path: `/services/${encodeURIComponent(name)}/restart`,
      ...(deps.controlToken === undefined ? {} : { token: deps.controlToken }),
      signal,
    })
    sendJson(response, status)
  } catch (error) {
    if ((signal.reason as LeaveReason | undefined) === 'stopping') sendJson(response, { name }, 202)
    else refuseAsAgent(error)
  }
}

function socketOf({ controlSocket }: ServicesDeps): string {
  return controlSocket ?? refuse(503, 'not started by the agent: there is no control socket')
}

/** What the agent says is for the client too. */
function refuseAsAgent(error: unknown): never {
  if (error instanceof AgentUnreachableError) return refuse(503, error.message)
  if (!(error instanceof ControlFailedError)) throw error
  const { status } = error
  return refuse([400, 403, 404, 409, 429].includes(status) ? status : 502, error.message)
}
