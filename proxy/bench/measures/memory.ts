import { setTimeout as delay } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { BLOB_HOST } from '../stage/hosts.js'
import { KIB, type Blob } from '../stage/blobs.js'
import { openSecure } from '../client/secure-socket.js'
import { MeasureError } from '../stage/errors.js'
import { usageOf } from '../stage/process-usage.js'
import { destination, type Subject } from './measure.js'

const READERS = 64
const BYTES_PER_SECOND = 64 * KIB
const TICK_MS = 250
const DURATION_MS = 10_000
const LOOK_MS = 100
/** A peer that has no bound is stopped here, for the machine's sake; its figure is then a lower bound. */
const ENOUGH_BYTES = 3e9

export async function measureIdleMemory({ peer, add }: Subject): Promise<void> {
  add('idleMemory', (await usageOf(peer.pid)).residentBytes / 1e6)
}

/** The most that is resident while slow clients read one blob, which is cold when the first of them asks. */
export async function measureSlowReaders(subject: Subject, { path }: Blob): Promise<void> {
  const to = destination(subject, BLOB_HOST)
  const sockets = await Promise.all(Array.from({ length: READERS }, () => openSecure(to)))
  const readers = sockets.map((socket) => readSlowly(socket, BYTES_PER_SECOND))
  for (const socket of sockets) socket.write(`GET ${path} HTTP/1.1\r\nHost: ${BLOB_HOST}\r\n\r\n`)
  let peak = 0
  const deadline = performance.now() + DURATION_MS
  try {
    while (performance.now() < deadline && peak < ENOUGH_BYTES) {
      peak = Math.max(peak, (await usageOf(subject.peer.pid)).residentBytes)
      await delay(LOOK_MS)
    }
  } finally {
    for (const { stop } of readers) stop()
    for (const socket of sockets) socket.destroy()
  }
  const least = Math.min(...readers.map(({ taken }) => taken()))
  if (peak < ENOUGH_BYTES && least < (BYTES_PER_SECOND * DURATION_MS) / 1000 / 2) {
    throw new MeasureError(`cannot measure slow readers: one of them got no more than ${least} bytes`)
  }
  subject.add('slowMemory', peak / 1e6)
}

interface SlowReader {
  readonly taken: () => number
  readonly stop: () => void
}

/** Takes from the socket what `bytesPerSecond` allows and leaves the rest to TCP. */
function readSlowly(socket: TLSSocket, bytesPerSecond: number): SlowReader {
  let allowed = 0
  let taken = 0
  socket.pause()
  const timer = setInterval(() => {
    allowed += (bytesPerSecond * TICK_MS) / 1000
    while (taken < allowed) {
      // Asking for nothing makes the socket look for more.
      const piece = socket.read(Math.min(allowed - taken, socket.readableLength)) as Buffer | null
      if (piece === null || piece.length === 0) break
      taken += piece.length
    }
  }, TICK_MS)
  return { taken: () => taken, stop: () => clearInterval(timer) }
}
