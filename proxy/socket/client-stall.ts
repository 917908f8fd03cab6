import type { Socket } from 'node:net'
import { watchIdle } from './idle-watch.js'
import type { ClientResponse } from '../message/message.js'

/**
 * Calls `onStall` when the client has taken nothing for the limit though there is something for it. While upstream
 * is waited for, nothing waits for the client, and this is silent. Returns what ends the watch.
 */
export function watchClient(
  response: ClientResponse,
  socket: Socket,
  limitMs: number,
  onStall: () => void,
): () => void {
  let taken = 0
  response.on('drain', () => (taken += 1))
  const waits = (): boolean =>
    response.writableNeedDrain || (response.writableEnded && !response.writableFinished)
  let looks = 0
  return watchIdle({
    limitMs,
    // That there is nothing to take is no stall.
    progress: () => (waits() ? taken + socket.bytesWritten : (looks -= 1)),
    onIdle: onStall,
  })
}
