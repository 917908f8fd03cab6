import { shape } from '../../base/http/json-schema.js'
import { sendJson, sendText } from '../../base/http/problem.js'
import type { Route } from '../../base/http/route.js'
import type { CacheStats, ResponseCache } from '../cache/response-cache.js'
import type { Traffic } from '../exchange/traffic.js'
import { KINDS, type CountedKind, type DeadWatch } from '../watch/dead-watch.js'
import { PROMETHEUS_TYPE, renderMetrics, type Metric } from './prometheus.js'

interface TrafficDeps {
  readonly traffic: Traffic
  readonly cache: ResponseCache
  /** Client connections that are open. */
  readonly connections: () => number
  readonly upstreamConnections: () => number
  readonly watch: DeadWatch
}

/** What is going on, and what has been. */
export function trafficRoutes(deps: TrafficDeps): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/api/requests',
      access: 'read',
      summary: 'Requests under way, the oldest first',
      description: 'Without queries, headers and bodies.',
      answers: { 200: { description: 'all of them', content: { 'application/json': shape('Requests') } } },
      handle: async ({ response }) => sendJson(response, { requests: deps.traffic.live() }),
    },
    {
      method: 'GET',
      path: '/metrics',
      access: 'read',
      summary: 'Figures in the format of Prometheus',
      answers: {
        200: { description: 'one line a figure', content: { [PROMETHEUS_TYPE]: { type: 'string' } } },
      },
      handle: async ({ response }) => {
        const text = renderMetrics([...trafficMetrics(deps), ...cacheMetrics(deps.cache.stats())])
        sendText(response, text, PROMETHEUS_TYPE)
      },
    },
  ]
}

function trafficMetrics({ traffic, connections, upstreamConnections, watch }: TrafficDeps): Metric[] {
  const ended = traffic.ended()
  return [
    {
      name: 'discobot_proxy_requests_total',
      type: 'counter',
      help: 'Requests that have ended, by status and by what the cache had to do with them.',
      samples: ended.map(({ count, ...labels }) => ({ labels, value: count })),
    },
    {
      name: 'discobot_proxy_request_duration_seconds',
      type: 'summary',
      help: 'How long those requests took, from their head to the end of the answer.',
      samples: [
        { suffix: '_sum', value: traffic.durationMs / 1000 },
        { suffix: '_count', value: ended.reduce((sum, { count }) => sum + count, 0) },
      ],
    },
    gauge('discobot_proxy_requests_live', 'Requests under way.', traffic.live().length),
    gauge('discobot_proxy_client_connections', 'Client connections that are open.', connections()),
    gauge(
      'discobot_proxy_upstream_connections',
      'Connections to upstream that are open.',
      upstreamConnections(),
    ),
    gauge('discobot_proxy_tunnels', 'Tunnels in which nobody looks at the bytes.', traffic.tunnels),
    {
      name: 'discobot_proxy_dead',
      type: 'gauge',
      help: 'Counted though the peer is gone, at the last look.',
      samples: perKind((kind) => watch.dead(kind)),
    },
    {
      name: 'discobot_proxy_let_go_total',
      type: 'counter',
      help: 'Let go of because it was counted though the peer had gone.',
      samples: perKind((kind) => watch.letGo(kind)),
    },
    gauge('process_resident_memory_bytes', 'Resident memory.', process.memoryUsage.rss()),
    gauge(
      'process_start_time_seconds',
      'Start, in seconds since 1970.',
      Date.now() / 1000 - process.uptime(),
    ),
  ]
}

function perKind(value: (kind: CountedKind) => number): Metric['samples'] {
  return KINDS.map((kind) => ({ labels: { kind }, value: value(kind) }))
}

function cacheMetrics({ rules, ...all }: CacheStats): Metric[] {
  const byRule = Object.entries(rules)
  const perRule = (figure: 'hits' | 'misses' | 'bytes_served' | 'bytes_fetched'): Metric['samples'] =>
    byRule.map(([rule, figures]) => ({ labels: { rule }, value: figures[figure] }))
  return [
    counter('discobot_cache_hits_total', 'Requests answered from what is stored, by rule.', perRule('hits')),
    counter('discobot_cache_misses_total', 'Requests that had to be fetched, by rule.', perRule('misses')),
    counter('discobot_cache_served_bytes_total', 'Bytes of bodies to clients.', perRule('bytes_served')),
    counter('discobot_cache_fetched_bytes_total', 'Bytes of bodies from upstream.', perRule('bytes_fetched')),
    counter('discobot_cache_stores_total', 'Entries stored.', [{ value: all.stores }]),
    counter('discobot_cache_evictions_total', 'Entries removed to make room.', [{ value: all.evictions }]),
    counter('discobot_cache_errors_total', 'What went wrong with the store.', [{ value: all.errors }]),
    gauge('discobot_cache_bytes', 'Bytes on disk.', all.current_size),
    gauge('discobot_cache_memory_bytes', 'Bytes of memory that hold copies.', all.memory_size),
  ]
}

function gauge(name: string, help: string, value: number): Metric {
  return { name, type: 'gauge', help, samples: [{ value }] }
}

function counter(name: string, help: string, samples: Metric['samples']): Metric {
  return { name, type: 'counter', help, samples }
}
