import { request, type IncomingMessage } from 'node:http'
import { codeOf, reasonOf } from '../../base/errors.js'
import { AgentUnreachableError, ControlFailedError } from './errors.js'
import type { AgentStatus } from '../status/status.js'

/** Status is told from memory; an agent that takes longer is stuck. */
const STATUS_TIMEOUT_MS = 5_000

export interface ControlQuestion {
  readonly method?: 'GET' | 'POST'
  /** With its query. */
  readonly path: string
  readonly body?: object
  /** Lets whoever is not root change services. */
  readonly token?: string
  /** Called when the answer is 200, before anything of it is read. */
  readonly onAnswered?: () => void
  /** Gives up waiting. */
  readonly signal?: AbortSignal
}

/**
 * Asks the agent that listens on `socketPath`.
 *
 * @throws AgentUnreachableError when there is none, it may not be asked, or does not answer as it should.
 * @throws ControlFailedError when it answers that it cannot.
 */
export async function fetchStatus(socketPath: string): Promise<AgentStatus> {
  const value = await askAgent(socketPath, {
    path: '/status',
    signal: AbortSignal.timeout(STATUS_TIMEOUT_MS),
  })
  // An agent of another version may say more, but never less than this.
  if (!('phase' in value && 'boot' in value && 'services' in value))
    throw new AgentUnreachableError(socketPath, 'its answer is no status')
  return value as AgentStatus
}

/** The JSON object that the agent answers with; throws as {@link fetchStatus} does. */
export async function askAgent(socketPath: string, question: ControlQuestion): Promise<object> {
  try {
    const text = await readText(await open(socketPath, question))
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) throw new Error('its answer is no JSON object')
    return value
  } catch (error) {
    throw explained(socketPath, error)
  }
}

/**
 * Calls `onLine` for each line of the answer, in order, until its end, that of the agent, or until `signal`
 * aborts; throws as {@link fetchStatus} does.
 */
export async function readLines(
  socketPath: string,
  question: ControlQuestion,
  onLine: (line: string) => void | Promise<void>,
): Promise<void> {
  let began = false
  try {
    const response = await open(socketPath, question)
    began = true
    question.onAnswered?.()
    let rest = ''
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) await onLine(line)
    }
  } catch (error) {
    if (question.signal?.aborted === true) return
    // An agent that ends lets go of all who listen to it.
    if (began && codeOf(error) === 'ECONNRESET') return
    throw explained(socketPath, error)
  }
}

/** Resolves with an answer of 200; rejects with ControlFailedError for any other. */
async function open(socketPath: string, question: ControlQuestion): Promise<IncomingMessage> {
  const { method = 'GET', path, body, token, signal } = question
  const text = body === undefined ? undefined : JSON.stringify(body)
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const asked = request({
      socketPath,
      method,
      path,
      agent: false,
      ...(signal === undefined ? {} : { signal }),
      headers: {
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
    })
    asked.on('error', reject)
    asked.on('response', resolve)
    asked.end(text)
  })
  const status = response.statusCode ?? 0
  if (status !== 200) throw failureOf(status, await readText(response))
  return response
}

async function readText(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk
  return text
}

function failureOf(status: number, text: string): ControlFailedError {
  let problem: { detail?: unknown; code?: unknown } = {}
  try {
    problem = Object(JSON.parse(text)) as typeof problem
  } catch {
    // Not one of ours answers there; its own words are all there is.
  }
  const detail = typeof problem.detail === 'string' ? problem.detail : text.slice(0, 200).trim()
  const code = typeof problem.code === 'string' ? problem.code : undefined
  return new ControlFailedError(detail === '' ? `it answered ${status}` : detail, status, code)
}

function explained(socketPath: string, error: unknown): unknown {
  if (error instanceof ControlFailedError) return error
  return new AgentUnreachableError(socketPath, explain(error), { cause: error })
}

function explain(error: unknown): string {
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return 'no agent is running there'
    case 'EACCES':
      return 'permission denied; it is for root and the members of the group the socket belongs to'
    default:
      return reasonOf(error)
  }
}
