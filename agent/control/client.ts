import { request } from 'node:http'
import { codeOf, reasonOf } from '../../config/errors.js'
import { AgentUnreachableError } from './errors.js'
import type { AgentStatus } from './status.js'

/** Status is told from memory; an agent that takes longer is stuck. */
const TIMEOUT_MS = 5_000

/**
 * Asks the agent that listens on `socketPath`.
 *
 * @throws AgentUnreachableError when there is none, it may not be asked, or does not answer as it should.
 */
export async function fetchStatus(socketPath: string): Promise<AgentStatus> {
  try {
    const { status, body } = await get(socketPath, '/status')
    if (status !== 200) throw new Error(`it answered ${status}: ${body.slice(0, 200)}`)
    return readStatus(JSON.parse(body))
  } catch (error) {
    throw new AgentUnreachableError(socketPath, explain(error), { cause: error })
  }
}

function get(socketPath: string, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) })
    asked.on('error', reject)
    asked.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      )
    })
    asked.end()
  })
}

/** An agent of another version may say more, but never less than this. */
function readStatus(value: unknown): AgentStatus {
  const isStatus =
    typeof value === 'object' && value !== null && 'phase' in value && 'boot' in value && 'services' in value
  if (!isStatus) throw new Error('its answer is no status')
  return value as AgentStatus
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
