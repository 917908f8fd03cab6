import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ClientGoneError } from './paced-write.js'
import { SAFE_HEADERS } from './problem.js'

/**
 * Answers with what `source` gives, as fast as the client takes it. Resolves when all is sent; `source` is destroyed
 * in any case, and an error in it breaks the answer off.
 *
 * @throws ClientGoneError
 */
export async function sendStream(
  response: ServerResponse,
  source: Readable,
  contentType: string,
): Promise<void> {
  response.writeHead(200, { 'Content-Type': contentType, ...SAFE_HEADERS })
  response.flushHeaders()
  if (response.req.method === 'HEAD') {
    source.destroy()
    response.end()
    return
  }
  try {
    await pipeline(source, response)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE')
      throw new ClientGoneError('the client has left', { cause: error })
    throw error
  }
}
