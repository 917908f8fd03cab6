import type { MetricName } from './stage/metrics.js'
import type { PeerName } from './peers/peer.js'

/** The figures that issue 4 requires of us, each within one run. */
export interface Requirement {
  readonly metric: MetricName
  readonly text: string
  /** Whose figure ours is held against. */
  readonly against?: PeerName
  /** The bound our figure must keep; `other` is that of `against`. */
  readonly bound: (other: number) => number
  readonly keep: 'at least' | 'at most'
}

const fixed = (value: number) => (): number => value

export const REQUIREMENTS: readonly Requirement[] = [
  {
    metric: 'hitRate',
    text: 'hits ≥ 0.75 × nginx direct',
    against: 'nginx',
    bound: (it) => 0.75 * it,
    keep: 'at least',
  },
  {
    metric: 'hitRate',
    text: 'hits ≥ 1.8 × squid',
    against: 'squid',
    bound: (it) => 1.8 * it,
    keep: 'at least',
  },
  {
    metric: 'missRate',
    text: 'misses ≥ 1.3 × squid',
    against: 'squid',
    bound: (it) => 1.3 * it,
    keep: 'at least',
  },
  {
    metric: 'firstByte',
    text: "first byte within 3 ms of squid's",
    against: 'squid',
    bound: (it) => it + 3,
    keep: 'at most',
  },
  {
    metric: 'smallHits',
    text: 'small hits ≥ 0.5 × squid',
    against: 'squid',
    bound: (it) => 0.5 * it,
    keep: 'at least',
  },
  {
    metric: 'smallHits',
    text: 'small hits ≥ 5 × stock',
    against: 'stock',
    bound: (it) => 5 * it,
    keep: 'at least',
  },
  { metric: 'handshake', text: 'new host ≤ 6 ms', bound: fixed(6), keep: 'at most' },
  { metric: 'herdFetches', text: '1 fetch for 50 pulls', bound: fixed(1), keep: 'at most' },
  {
    metric: 'herdLag',
    text: "followers within 20 ms of the leader's first byte",
    bound: fixed(20),
    keep: 'at most',
  },
  { metric: 'slowMemory', text: '≤ 150 MB with 64 slow readers', bound: fixed(150), keep: 'at most' },
]

export interface Verdict {
  readonly requirement: Requirement
  /** Undefined where ours, or what it is held against, was not measured. */
  readonly met: boolean | undefined
  readonly ours: number | undefined
  readonly bound: number | undefined
}

/** @param ours whether `discobot` or `bundle` is judged. */
export function judge(
  ours: PeerName,
  median: (peer: PeerName, metric: MetricName) => number | undefined,
): readonly Verdict[] {
  return REQUIREMENTS.map((requirement) => {
    const { metric, against, keep } = requirement
    const value = median(ours, metric)
    const other = against === undefined ? 0 : median(against, metric)
    const bound = other === undefined ? undefined : requirement.bound(other)
    const measured = value !== undefined && bound !== undefined
    const met = measured ? (keep === 'at least' ? value >= bound : value <= bound) : undefined
    return { requirement, met, ours: value, bound }
  })
}
