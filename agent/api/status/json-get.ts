import { request } from 'node:http'
import { DiscobotError, reasonOf } from '../../../base/errors.js'

class JsonGetError extends DiscobotError {
  readonly code = 'JSON_GET_FAILED'
}

type Where = { readonly socketPath: string } | { readonly host: string; readonly port: number }

/** A status of a container with hundreds of services stays far below; more is not an answer of ours. */
const MAX_BODY_BYTES = 4 * 1024 * 1024

/**
 * Asks a neighbour for a JSON object: the agent on its Unix socket, the proxy on its port. Not `fetch`, which
 * knows no Unix sockets, costs 100 ms to load, and would send the question through the proxy.
 *
 * @param timeoutMs for the whole exchange.
 * @throws JsonGetError when there is no 200 answer with a JSON object in time.
 */
export async function getJson(
  where: Where,
  path: string,
  timeoutMs: number,
): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(await getText(where, path, AbortSignal.timeout(timeoutMs)))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
    throw new Error('the answer is not a JSON object')
  } catch (error) {
    const place = 'socketPath' in where ? where.socketPath : `http://${where.host}:${where.port}`
    const late = error instanceof Error && error.name === 'AbortError'
    const reason = late ? `no answer within ${timeoutMs} ms` : reasonOf(error)
    throw new JsonGetError(`cannot ask ${place} for ${path}: ${reason}`, { cause: error })
  }
}

function getText(where: Where, path: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { ...where, path, signal, agent: false, headers: { host: 'localhost' } },
      (answer) => {
        if (answer.statusCode !== 200) {
          answer.destroy()
          reject(new Error(`it answered ${answer.statusCode}`))
          return
        }
        const chunks: Buffer[] = []
        let bytes = 0
        answer.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          chunks.push(chunk)
          if (bytes > MAX_BODY_BYTES) answer.destroy(new Error('the answer is too long'))
        })
        answer.once('end', () => resolve(Buffer.concat(chunks).toString()))
        answer.once('error', reject)
      },
    )
    asked.once('error', reject)
    asked.end()
  })
}
