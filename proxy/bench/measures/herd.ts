import { BLOB_HOST } from '../stage/hosts.js'
import type { Blob } from '../stage/blobs.js'
import { requestOnce } from '../client/request.js'
import { openSecure } from '../client/secure-socket.js'
import { destination, type Subject } from './measure.js'

const PULLS = 50

/** Everybody asks for the same cold blob at the same moment, on connections that are open already. */
export async function measureHerd(subject: Subject, blob: Blob): Promise<void> {
  // The other peers of this round have asked for the same blob.
  const before = await subject.origin.fetches(blob)
  const to = destination(subject, BLOB_HOST)
  const sockets = await Promise.all(Array.from({ length: PULLS }, () => openSecure(to)))
  const pulls = await Promise.all(
    sockets.map((socket) => requestOnce(socket, { ...to, path: blob.path, size: blob.size })),
  )
  for (const socket of sockets) socket.destroy()
  const firstBytes = pulls.map(({ firstByteAt }) => firstByteAt)
  subject.add('herdLag', Math.max(...firstBytes) - Math.min(...firstBytes))
  subject.add('herdFetches', (await subject.origin.fetches(blob)) - before)
}
