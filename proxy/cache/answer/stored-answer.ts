import { answerTo, sendBody, type Answer } from './answer.js'
import type { Client } from '../body/client.js'
import type { CacheRequest } from '../contract/contract.js'
import type { BodySource, Reader } from '../body/reader.js'
import type { StoredEntry } from '../entry/stored-entry.js'
import { storedHead } from '../entry/stored-headers.js'

// entry → head → file → client

/**
 * How a stored entry answers a request.
 *
 * @param nowMs milliseconds since 1970.
 */
export function storedAnswer(request: CacheRequest, entry: StoredEntry, nowMs: number): Answer {
  const { reason, size } = entry.meta
  return answerTo(request, { reason, head: storedHead(entry, nowMs), size })
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
    client.response.writeHead(status, reason, headers)
    if (body !== undefined) return await sendBody(reader, storedSource(entry, onUnreadable), body)
    client.response.end()
    return 0
  } finally {
    await entry.body.close()
  }
}

function storedSource({ body, meta }: StoredEntry, onUnreadable: (error: unknown) => void): BodySource {
  const { held } = body
  return {
    sendable: meta.size,
    complete: true,
    failure: undefined,
    recent: (position, limit) => (held === undefined ? [] : [held.subarray(position, position + limit)]),
    read: async (into, position) => {
      try {
        const length = await body.read(into, position)
        if (length === 0) onUnreadable(new Error(`its body ends after ${position} of ${meta.size} bytes`))
        return length
      } catch (error) {
        onUnreadable(error)
        throw error
      }
    },
    advance: () => undefined,
  }
}
