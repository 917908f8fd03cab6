import { constants } from 'node:os'
import type { ServerResponse } from 'node:http'
import { sendJson } from '../../base/http/problem.js'
import type { Query, QueryParameter } from '../../base/http/query.js'
import type { Exchange, Route } from '../../base/http/route.js'
import { AGENT } from '../logs/log-entry.js'
import { SERVICE_VERBS, type AgentActions } from './actions.js'
import { ControlRequestError } from './errors.js'
import { streamLogs, type LogQuestion } from './log-stream.js'

/** What can be asked of an agent. */
export function controlRoutes(actions: AgentActions): readonly Route[] {
  /** Answers that follow the log. */
  const followers = new Set<ServerResponse>()
  return [
    {
      method: 'GET',
      path: '/status',
      access: 'read',
      summary: 'What runs, how it came to be, and what is missing',
      answers: OBJECT,
      handle: async ({ response }) => sendJson(response, actions.status()),
    },
    {
      method: 'GET',
      path: '/logs',
      access: 'read',
      summary: 'What services and the agent have said, one object a line',
      query: LOG_QUERY,
      answers: { 200: { description: 'the lines, oldest first', content: { 'application/x-ndjson': {} } } },
      handle: (exchange) => answerLogs(exchange, actions, followers),
    },
    {
      method: 'POST',
      path: '/services/{name}/{verb}',
      access: 'write',
      summary: `To a service: ${SERVICE_VERBS.join(', ')}`,
      answers: OBJECT,
      handle: (exchange) => changeService(exchange, actions),
    },
    {
      method: 'POST',
      path: '/signal',
      access: 'peer',
      summary: 'A signal to a service, or to process 1',
      // Bytes, so that nobody has to name their media type.
      body: {
        description: 'signal, service',
        content: { 'application/octet-stream': {} },
        maxBytes: MAX_BODY_BYTES,
      },
      answers: OBJECT,
      handle: (exchange) => sendSignal(exchange, actions),
    },
    {
      method: 'POST',
      path: '/reload',
      access: 'peer',
      summary: 'Read the configuration and the files of services again',
      answers: OBJECT,
      handle: async ({ response }) => {
        await actions.reload()
        sendJson(response, { reloaded: true })
      },
    },
  ]
}

const OBJECT: Route['answers'] = {
  200: { description: 'an object', content: { 'application/json': { type: 'object' } } },
}
/** The longest request holds a signal and a name. */
const MAX_BODY_BYTES = 4_096
/** As many digits as a number holds exactly. */
const MAX_NUMBER = 999_999_999_999_999

const LOG_QUERY: Readonly<Record<string, QueryParameter>> = {
  service: { kind: 'text', description: 'only of this one' },
  lines: { kind: 'whole', min: 0, max: MAX_NUMBER, description: 'of what is there already' },
  after: { kind: 'whole', min: 0, max: MAX_NUMBER, description: 'seq of the last line one has' },
  follow: { kind: 'flag', description: 'goes on with what is said from now on' },
}

const DEFAULT_LINES = 100
/** Each keeps a connection: more is somebody's mistake. */
const MAX_FOLLOWERS = 32

async function answerLogs(
  { response, query }: Exchange,
  { logs, status }: AgentActions,
  followers: Set<ServerResponse>,
): Promise<void> {
  const question = logQuestion(query)
  const { service, follow } = question
  const known = [AGENT, ...status().services.map(({ name }) => name)]
  if (service !== undefined && !known.includes(service) && !logs.has(service)) {
    throw new ControlRequestError(
      404,
      `there is no service ${JSON.stringify(service)}, only ${known.join(', ')}`,
    )
  }
  if (!follow) return streamLogs(response, logs, question)
  if (followers.size >= MAX_FOLLOWERS)
    throw new ControlRequestError(429, `there are ${MAX_FOLLOWERS} who follow the log already`)
  followers.add(response)
  try {
    await streamLogs(response, logs, question)
  } finally {
    followers.delete(response)
  }
}

function logQuestion(query: Query): LogQuestion {
  const service = query.text('service')
  const after = query.whole('after')
  return {
    ...(service === undefined ? {} : { service }),
    ...(after === undefined ? {} : { after }),
    lines: query.whole('lines') ?? DEFAULT_LINES,
    follow: query.flag('follow'),
  }
}

async function changeService({ response, params, signal }: Exchange, actions: AgentActions): Promise<void> {
  const { name = '', verb: asked = '' } = params
  const verb = SERVICE_VERBS.find((one) => one === asked)
  if (verb === undefined)
    throw new ControlRequestError(404, `a service can be told to ${SERVICE_VERBS.join(', ')}`)
  sendJson(response, await actions.change(name, verb, signal))
}

async function sendSignal({ response, json }: Exchange, actions: AgentActions): Promise<void> {
  const body = await json()
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new ControlRequestError(400, 'the body is not a JSON object')
  const { signal: asked, service, ...rest } = body as Readonly<Record<string, unknown>>
  const signal = typeof asked === 'string' ? signalNamed(asked) : undefined
  if (signal === undefined) throw new ControlRequestError(400, '"signal" is the name of one, such as HUP')
  if (Object.keys(rest).length > 0 || !(service === undefined || typeof service === 'string'))
    throw new ControlRequestError(400, 'there may be "signal" and "service", both text')
  if (service === undefined && !TO_THE_AGENT.includes(signal)) {
    const names = TO_THE_AGENT.map((name) => name.slice('SIG'.length)).join(', ')
    throw new ControlRequestError(400, `without a service it may be ${names}`)
  }
  sendJson(response, { taken: actions.signal(signal, service) })
}

/** What an init handles; of the others some cannot be, and some would be the end of it. */
const TO_THE_AGENT: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
]

function signalNamed(text: string): NodeJS.Signals | undefined {
  const name = `SIG${text.toUpperCase().replace(/^SIG/, '')}`
  return (Object.keys(constants.signals) as NodeJS.Signals[]).find((signal) => signal === name)
}
