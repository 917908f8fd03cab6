import type { Blob } from '../stage/blobs.js'
import { BLOB_HOST } from '../stage/hosts.js'
import { curlSeconds } from '../client/curl.js'
import { endedChildrenCpuMs, usageOf } from '../stage/process-usage.js'
import { throughPeer, type Subject } from './measure.js'

const HITS_PER_ROUND = 3

interface Timed {
  readonly bytesPerSecond: number
  /** CPU time over the time of the transfers: 100 is one core. Clock ticks of 10 ms make it coarse. */
  readonly peerCpuPercent: number
  readonly clientCpuPercent: number
}

/** The first request for a blob, so that it comes from the origin through the proxy. */
export async function measureMiss(subject: Subject, blob: Blob): Promise<void> {
  const { bytesPerSecond, peerCpuPercent } = await transfers(subject, blob, 1)
  subject.add('missRate', bytesPerSecond / 1e6)
  subject.add('missPeerCpu', peerCpuPercent)
}

/** Requests for a blob that the peer has, or is; the first, which may still have to fetch it, does not count. */
export async function measureHits(subject: Subject, blob: Blob): Promise<void> {
  await transfers(subject, blob, 1)
  const { bytesPerSecond, peerCpuPercent, clientCpuPercent } = await transfers(subject, blob, HITS_PER_ROUND)
  subject.add('hitRate', bytesPerSecond / 1e6)
  subject.add('hitPeerCpu', peerCpuPercent)
  subject.add('hitClientCpu', clientCpuPercent)
}

async function transfers(subject: Subject, { path, size }: Blob, count: number): Promise<Timed> {
  const { peer } = subject
  const [peerBefore, clientBefore] = [await usageOf(peer.pid), await endedChildrenCpuMs()]
  let seconds = 0
  for (let done = 0; done < count; done += 1) {
    seconds += await curlSeconds({
      url: `https://${BLOB_HOST}${path}`,
      caFile: peer.caFile,
      size,
      ...throughPeer(subject),
    })
  }
  const [peerAfter, clientAfter] = [await usageOf(peer.pid), await endedChildrenCpuMs()]
  return {
    bytesPerSecond: (size * count) / seconds,
    peerCpuPercent: ((peerAfter.cpuMs - peerBefore.cpuMs) / (seconds * 1000)) * 100,
    clientCpuPercent: ((clientAfter - clientBefore) / (seconds * 1000)) * 100,
  }
}
