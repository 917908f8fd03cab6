import { BLOB_HOST } from '../stage/hosts.js'
import type { Blob } from '../stage/blobs.js'
import { heyRate } from '../client/hey.js'
import { endedChildrenCpuMs, usageOf } from '../stage/process-usage.js'
import { throughPeer, type Subject } from './measure.js'

const CONNECTIONS = 16
const WARM_UP_SECONDS = 1
const SECONDS = 2

/** Requests per second for one small blob over connections that stay open. */
export async function measureSmallHits(subject: Subject, blob: Blob): Promise<void> {
  const { peer } = subject
  const load = {
    url: `https://${BLOB_HOST}${blob.path}`,
    connections: CONNECTIONS,
    ...throughPeer(subject),
  }
  await heyRate({ ...load, seconds: WARM_UP_SECONDS })
  const [peerBefore, clientBefore] = [await usageOf(peer.pid), await endedChildrenCpuMs()]
  const started = performance.now()
  subject.add('smallHits', await heyRate({ ...load, seconds: SECONDS }))
  const wallMs = performance.now() - started
  const [peerAfter, clientAfter] = [await usageOf(peer.pid), await endedChildrenCpuMs()]
  subject.add('smallPeerCpu', ((peerAfter.cpuMs - peerBefore.cpuMs) / wallMs) * 100)
  subject.add('smallClientCpu', ((clientAfter - clientBefore) / wallMs) * 100)
}
