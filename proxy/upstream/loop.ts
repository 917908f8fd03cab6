import { headerValue, type RawHeaders } from '../message/headers.js'
import { ProxyLoopError } from './errors.js'

/** RFC 9110, 7.6.3: who finds its own name in Via has been here before. @throws ProxyLoopError */
export function assertNoLoop(headers: RawHeaders, pseudonym: string): void {
  const received = headerValue(headers, 'via')
  if (received === undefined) return
  const names = received.split(',').map((entry) => entry.trim().split(/\s+/)[1])
  if (names.includes(pseudonym)) {
    throw new ProxyLoopError('cannot go on: this request has come through this proxy before (Via)')
  }
}
