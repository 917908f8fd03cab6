import type { Destination } from '../client/secure-socket.js'
import type { MetricName } from '../stage/metrics.js'
import type { Origin } from '../peers/origin.js'
import type { Peer } from '../peers/peer.js'

/** What a measure is given; what it finds it hands to `add`. */
export interface Subject {
  readonly peer: Peer
  readonly origin: Origin
  readonly add: (metric: MetricName, value: number) => void
}

export function destination({ peer }: Subject, host: string): Destination {
  const { ca, proxyPort } = peer
  return { host, ca, ...(proxyPort === undefined ? {} : { proxyPort }) }
}

/** For programs that take the proxy as an option. */
export function throughPeer({ peer: { proxyPort } }: Subject): { readonly proxyPort?: number } {
  return proxyPort === undefined ? {} : { proxyPort }
}
