import { constants, type Http2Stream } from 'node:http2'
import { DiscobotError } from '../../base/errors.js'

/** The peer broke off a stream, or the connection under it ended. Answered with 502, or by the same reset. */
export class StreamResetError extends DiscobotError {
  override readonly code = 'STREAM_RESET'
  /** RFC 9113, 7. */
  readonly http2Code: number

  constructor(http2Code: number) {
    super(`cannot go on: the stream was reset (${nameOf(http2Code)})`)
    this.http2Code = http2Code
  }
}

/** Why a stream that has closed did not come to its end. */
export function streamError({ rstCode }: Http2Stream): StreamResetError {
  // Whatever ended without an error code did so too early, or nobody would ask.
  return new StreamResetError(rstCode === 0 ? constants.NGHTTP2_CANCEL : (rstCode ?? 0))
}

/** RFC 9113, 7: in the order of their numbers. */
const NAMES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
]

function nameOf(code: number): string {
  return NAMES[code] ?? `error ${code}`
}
