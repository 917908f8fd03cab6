import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { startCached, type Front, type FrontOptions } from '../cache-front.js'
import type { ResponseCache } from '../../../proxy/cache/response-cache.js'

/** A request as it came to the origin. */
interface Recorded {
  /** `METHOD url` */
  readonly line: string
  readonly headers: IncomingMessage['headers']
}

interface RecordingOrigin {
  readonly port: number
  readonly asked: Recorded[]
  /** Their lines. */
  lines(): string[]
}

export async function startRecordingOrigin(
  t: Test,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<RecordingOrigin> {
  const asked: Recorded[] = []
  const server = createServer((request, response) => {
    asked.push({ line: `${request.method} ${request.url}`, headers: request.headers })
    response.on('error', () => undefined)
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { port, asked, lines: () => asked.map(({ line }) => line) }
}

/** A cache in front of an origin that tells what it was asked. The client's host is the authority. */
export async function startRecorded(
  t: Test,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  options: FrontOptions = {},
): Promise<RecordingOrigin & { readonly cache: ResponseCache; readonly front: Front; readonly dir: string }> {
  const origin = await startRecordingOrigin(t, answer)
  return { ...origin, ...(await startCached(t, origin.port, options)), port: origin.port }
}
