import { BLOB_HOST } from '../stage/hosts.js'
import type { Blob } from '../stage/blobs.js'
import { requestOnce } from '../client/request.js'
import { openSecure } from '../client/secure-socket.js'
import { destination, type Subject } from './measure.js'

/** From the request to the first byte of the body, each blob asked for the first time on a new connection. */
export async function measureFirstByte(subject: Subject, blobs: readonly Blob[]): Promise<void> {
  for (const { path, size } of blobs) {
    const to = destination(subject, BLOB_HOST)
    const socket = await openSecure(to)
    const started = performance.now()
    const { firstByteAt } = await requestOnce(socket, { ...to, path, size })
    socket.destroy()
    subject.add('firstByte', firstByteAt - started)
  }
}
