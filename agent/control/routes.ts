import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants } from 'node:os'
import { AGENT } from '../logs/log-entry.js'
import { SERVICE_VERBS, type AgentActions } from './actions.js'
import { sendJson } from './answer.js'
import type { Change } from './caller.js'
import { ControlRequestError } from './errors.js'
import { streamLogs, type LogQuestion } from './log-stream.js'
import { readObject } from './request-body.js'

/** One request, taken apart as far as every route wants it. */
interface Asked {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly query: URLSearchParams
  /** What the pattern of the path caught. */
  readonly parts: readonly string[]
  /** Aborts when the client leaves. */
  readonly left: AbortSignal
}

export interface Route {
  readonly path: RegExp
  readonly method: 'GET' | 'POST'
  /** Absent for what changes nothing. */
  readonly change?: Change | ((parts: readonly string[]) => Change)
  answer(asked: Asked): Promise<void> | void
}

/** What can be asked of an agent. */
export function controlRoutes(actions: AgentActions): readonly Route[] {
  /** Answers that follow the log. */
  const followers = new Set<ServerResponse>()
  return [
    {
      path: /^\/status$/,
      method: 'GET',
      answer: ({ response }) => sendJson(response, actions.status()),
    },
    { path: /^\/logs$/, method: 'GET', answer: (asked) => answerLogs(asked, actions, followers) },
    {
      path: /^\/services\/([^/]+)\/([a-z]+)$/,
      method: 'POST',
      change: ([name = '']) => (actions.guards(name) ? 'guards' : 'services'),
      answer: (asked) => changeService(asked, actions),
    },
    { path: /^\/signal$/, method: 'POST', change: 'all', answer: (asked) => sendSignal(asked, actions) },
    {
      path: /^\/reload$/,
      method: 'POST',
      change: 'all',
      answer: async ({ response }) => {
        await actions.reload()
        sendJson(response, { reloaded: true })
      },
    },
  ]
}

const DEFAULT_LINES = 100
/** Each keeps a connection: more is somebody's mistake. */
const MAX_FOLLOWERS = 32

async function answerLogs(
  { response, query }: Asked,
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

function logQuestion(query: URLSearchParams): LogQuestion {
  const unknown = [...query.keys()].find((key) => !['service', 'lines', 'after', 'follow'].includes(key))
  if (unknown !== undefined)
    throw new ControlRequestError(400, `there is no parameter ${JSON.stringify(unknown)}`)
  const service = query.get('service')
  const after = wholeNumber(query, 'after')
  return {
    ...(service === null ? {} : { service }),
    ...(after === undefined ? {} : { after }),
    lines: wholeNumber(query, 'lines') ?? DEFAULT_LINES,
    follow: ['1', 'true'].includes(query.get('follow') ?? ''),
  }
}

function wholeNumber(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name)
  if (value === null) return undefined
  if (!/^\d{1,15}$/.test(value)) throw new ControlRequestError(400, `${name} is a whole number from 0`)
  return Number(value)
}

async function changeService({ response, parts, left }: Asked, actions: AgentActions): Promise<void> {
  const [name = '', asked = ''] = parts
  const verb = SERVICE_VERBS.find((one) => one === asked)
  if (verb === undefined)
    throw new ControlRequestError(404, `a service can be told to ${SERVICE_VERBS.join(', ')}`)
  sendJson(response, await actions.change(name, verb, left))
}

async function sendSignal({ request, response }: Asked, actions: AgentActions): Promise<void> {
  const { signal: asked, service, ...rest } = await readObject(request)
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
