import { headerValue, without, type RawHeaders } from '../../message/headers.js'
import { byteranges, type Byteranges } from './byteranges.js'
import type { CacheRequest } from '../contract/contract.js'
import { isNotModified, isRangeCurrent } from '../rules/preconditions.js'
import {
  asksFromStart,
  contentRange,
  requestedRange,
  type Part,
  type RequestedRange,
} from '../rules/ranges.js'
import type { BodySource, Reader } from '../body/reader.js'
import { notModifiedHead } from '../entry/stored-headers.js'

/** What a request is answered from. */
interface Representation {
  readonly reason: string
  /** Complete but for the framing. */
  readonly head: RawHeaders
  /** Bytes; undefined while it grows and nobody has said how long it will be. */
  readonly size: number | undefined
}

export interface Answer {
  readonly status: 200 | 206 | 304 | 416
  readonly reason: string
  /** Of nobody else. */
  readonly headers: string[]
  /** Absent where the answer has no body. */
  readonly body?: AnswerBody
}

interface AnswerBody {
  /** At least one; the end of the only one is Infinity where nobody knows it. */
  readonly parts: readonly Part[]
  /** Present where there are several. */
  readonly byteranges?: Byteranges
}

/** RFC 9110, 13.2.2: conditions come before ranges. */
export function answerTo(request: CacheRequest, { reason, head, size }: Representation): Answer {
  if (isNotModified(request, head)) {
    return { status: 304, reason: 'Not Modified', headers: notModifiedHead(head) }
  }
  const range = rangeOf(request, head, size)
  switch (range.kind) {
    case 'unsatisfiable': {
      const framing = ['Content-Range', `bytes */${size ?? '*'}`, 'Content-Length', '0']
      return {
        status: 416,
        reason: 'Range Not Satisfiable',
        headers: [...notModifiedHead(head), ...framing],
      }
    }
    case 'parts':
      return partialAnswer(head, range.parts, size)
    case 'whole': {
      const framing = size === undefined ? [] : ['Content-Length', String(size)]
      const body = request.method === 'HEAD' ? {} : { body: { parts: [{ from: 0, to: size ?? Infinity }] } }
      return { status: 200, reason, headers: [...head, ...framing], ...body }
    }
  }
}

function rangeOf(request: CacheRequest, head: RawHeaders, size: number | undefined): RequestedRange {
  // RFC 9110, 14.2: a range means something for GET only.
  if (request.method !== 'GET' || !isRangeCurrent(request, head)) return { kind: 'whole' }
  const range = request.header('range')
  // Everything of a body whose length nobody knows has no end to name in a `Content-Range`.
  if (size === undefined && range !== undefined && asksFromStart(range)) return { kind: 'whole' }
  return requestedRange(range, size ?? Infinity)
}

function partialAnswer(head: RawHeaders, parts: readonly Part[], size: number | undefined): Answer {
  const [only] = parts
  const partial = { status: 206, reason: 'Partial Content' } as const
  if (parts.length === 1 && only !== undefined) {
    const framing = ['Content-Range', contentRange(only, size), 'Content-Length', String(only.to - only.from)]
    return { ...partial, headers: [...head, ...framing], body: { parts } }
  }
  const several = byteranges(parts, size, headerValue(head, 'content-type'))
  const headers = [
    ...without(head, (name) => name === 'content-type'),
    'Content-Type',
    several.contentType,
    'Content-Length',
    String(several.length),
  ]
  return { ...partial, headers, body: { parts, byteranges: several } }
}

/**
 * Sends the body of an answer and ends it; resolves with the number of bytes sent, fewer than announced only
 * when the client left.
 *
 * @throws BodyAbortedError when the source ends short.
 */
export async function sendBody(
  reader: Reader,
  source: BodySource,
  { parts, byteranges: texts }: AnswerBody,
): Promise<number> {
  let sent = 0
  for (const [at, { from, to }] of parts.entries()) {
    const head = texts?.heads[at]
    if (head !== undefined) sent += await reader.sendText(head, false)
    sent += await reader.send(source, from, to, texts === undefined)
  }
  return texts === undefined ? sent : sent + (await reader.sendText(texts.closing, true))
}
