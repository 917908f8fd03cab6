import type { Client } from './client.js'
import type { CacheRequest } from './contract.js'
import { isNotModified, isRangeCurrent } from './preconditions.js'
import { contentRange, requestedRange, type RequestedRange } from './ranges.js'
import type { BodySource, Reader } from './reader.js'
import type { StoredEntry } from './store.js'
import { notModifiedHead, storedHead } from './stored-headers.js'

// entry → head → file → client

/** How a stored entry answers a request. */
export interface StoredAnswer {
  readonly status: 200 | 206 | 304 | 416
  readonly reason: string
  readonly headers: readonly string[]
  /** `to` is exclusive; absent where the answer has no body. */
  readonly part?: { readonly from: number; readonly to: number }
}

/**
 * RFC 9110, 13.2.2: conditions come before ranges.
 *
 * @param nowMs milliseconds since 1970.
 */
export function storedAnswer(request: CacheRequest, { meta }: StoredEntry, nowMs: number): StoredAnswer {
  const head = storedHead(meta, nowMs)
  if (isNotModified(request, meta.headers)) {
    return { status: 304, reason: 'Not Modified', headers: notModifiedHead(head) }
  }
  const range = rangeOf(request, meta.headers, meta.size)
  if (range.kind === 'unsatisfiable') {
    const headers = ['Content-Range', `bytes */${meta.size}`, 'Content-Length', '0']
    return { status: 416, reason: 'Range Not Satisfiable', headers: [...notModifiedHead(head), ...headers] }
  }
  const from = range.kind === 'part' ? range.start : 0
  const to = range.kind === 'part' ? range.end : meta.size
  const framing = ['Content-Length', String(to - from)]
  const part = request.method === 'HEAD' ? {} : { part: { from, to } }
  return range.kind === 'part'
    ? {
        status: 206,
        reason: 'Partial Content',
        headers: [...head, 'Content-Range', contentRange(from, to, meta.size), ...framing],
        ...part,
      }
    : { status: 200, reason: meta.reason, headers: [...head, ...framing], ...part }
}

function rangeOf(request: CacheRequest, stored: readonly string[], size: number): RequestedRange {
  // RFC 9110, 14.2: a range means something for GET only.
  if (request.method !== 'GET' || !isRangeCurrent(request, stored)) return { kind: 'whole' }
  return requestedRange(request.header('range'), size)
}

/**
 * Sends the answer; resolves with the number of body bytes sent. The entry's body is closed in every case.
 *
 * @param onUnreadable told when it is the file's fault that the body breaks off.
 * @throws BodyAbortedError when the file ends short or cannot be read.
 */
export async function sendStored(
  entry: StoredEntry,
  { status, reason, headers, part }: StoredAnswer,
  client: Client,
  reader: Reader,
  onUnreadable: (error: unknown) => void,
): Promise<number> {
  try {
    if (client.gone) return 0
    client.response.writeHead(status, reason, [...headers])
    if (part !== undefined) return await reader.send(fileSource(entry, onUnreadable), part.from, part.to)
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
