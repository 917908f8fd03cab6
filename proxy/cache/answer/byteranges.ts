import { randomBytes } from 'node:crypto'
import { contentRange, type Part } from '../rules/ranges.js'

/** The text around the parts of a `multipart/byteranges` body. */
export interface Byteranges {
  readonly contentType: string
  /** Bytes of the whole body, text and parts. */
  readonly length: number
  /** What goes before each part. */
  readonly heads: readonly Buffer[]
  readonly closing: Buffer
}

/** RFC 9110, 14.6 and RFC 2046, 5.1. */
export function byteranges(
  parts: readonly Part[],
  size: number | undefined,
  type: string | undefined,
): Byteranges {
  // Must not occur in any part; nobody can have foreseen this one.
  const boundary = randomBytes(16).toString('hex')
  const typeLine = type === undefined ? '' : `Content-Type: ${type}\r\n`
  const heads = parts.map((part, at) =>
    Buffer.from(
      `${at === 0 ? '' : '\r\n'}--${boundary}\r\n${typeLine}Content-Range: ${contentRange(part, size)}\r\n\r\n`,
      'latin1',
    ),
  )
  const closing = Buffer.from(`\r\n--${boundary}--\r\n`)
  const text = heads.reduce((sum, head) => sum + head.length, closing.length)
  return {
    contentType: `multipart/byteranges; boundary=${boundary}`,
    length: parts.reduce((sum, { from, to }) => sum + to - from, text),
    heads,
    closing,
  }
}
