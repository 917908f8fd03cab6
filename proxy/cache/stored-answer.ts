import { answerTo, sendBody, type Answer } from './answer.js'
import type { Client } from './client.js'
import type { CacheRequest } from './contract.js'
import type { BodySource, Reader } from './reader.js'
import type { StoredEntry } from './store.js'
import { storedHead } from './stored-headers.js'

// entry → head → file → client

/**
 * How a stored entry answers a request.
 *
 * @param nowMs milliseconds since 1970.
 */
export function storedAnswer(request: CacheRequest, { meta }: StoredEntry, nowMs: number): Answer {
  return answerTo(request, { reason: meta.reason, head: storedHead(meta, nowMs), size: meta.size })
}

/**
 * Sends the answer; resolves with the number of body bytes sent. The entry's body is closed in every case.
 *
 * @param onUnreadable told when it is the file's fault that the body breaks off.
 * @throws BodyAbortedError when the file ends short or cannot be read.
 */
export async function sendStored(
  entry: StoredEntry,
  { status, reason, headers, body }: Answer,
  client: Client,
  reader: Reader,
  onUnreadable: (error: unknown) => void,
): Promise<number> {
  try {
    if (client.gone) return 0
    client.response.writeHead(status, reason, [...headers])
    if (body !== undefined) return await sendBody(reader, fileSource(entry, onUnreadable), body)
    client.response.end()
    return 0
  } finally {
    await entry.body.close()
  }
}

function fileSource({ body, meta }: StoredEntry, onUnreadable: (error: unknown) => void): BodySource {
  return {
    sendable: meta.size,
    complete: true,
    failure: undefined,
    recent: () => [],
    read: async (into, position) => {
      try {
        const { bytesRead } = await body.read(into, 0, into.length, position)
        if (bytesRead === 0) onUnreadable(new Error(`its body ends after ${position} of ${meta.size} bytes`))
        return bytesRead
      } catch (error) {
        onUnreadable(error)
        throw error
      }
    },
    advance: () => undefined,
  }
}
