import type { MetricName } from './stage/metrics.js'
import type { PeerName } from './peers/peer.js'

/** Every sample of a run, and the medians the table shows. */
export class Results {
  readonly #samples = new Map<PeerName, Map<MetricName, number[]>>()

  add(peer: PeerName, metric: MetricName, value: number): void {
    const metrics = this.#samples.get(peer) ?? new Map<MetricName, number[]>()
    this.#samples.set(peer, metrics)
    const values = metrics.get(metric) ?? []
    metrics.set(metric, values)
    values.push(value)
  }

  /** Undefined where nothing was measured. */
  median(peer: PeerName, metric: MetricName): number | undefined {
    return median(this.#samples.get(peer)?.get(metric) ?? [])
  }

  samples(peer: PeerName): Readonly<Partial<Record<MetricName, readonly number[]>>> {
    return Object.fromEntries(this.#samples.get(peer) ?? [])
  }
}

/** The middle value, or the mean of the middle two; undefined of nothing. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((one, other) => one - other)
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)]
  if (upper === undefined || !Number.isInteger(middle)) return upper
  return (upper + (sorted[middle - 1] ?? upper)) / 2
}
