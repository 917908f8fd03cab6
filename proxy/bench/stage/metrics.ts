/** What is measured, in the order of the table. */
export const METRICS = {
  hitRate: { measure: 'hit', title: 'hit, 256 MiB', unit: 'MB/s', digits: 0 },
  hitPeerCpu: { measure: 'hit', title: '  its CPU meanwhile', unit: '% of a core', digits: 0 },
  hitClientCpu: { measure: 'hit', title: "  curl's CPU meanwhile", unit: '% of a core', digits: 0 },
  missRate: { measure: 'miss', title: 'miss, 256 MiB', unit: 'MB/s', digits: 0 },
  missPeerCpu: { measure: 'miss', title: '  its CPU meanwhile', unit: '% of a core', digits: 0 },
  firstByte: { measure: 'first-byte', title: 'first byte of a miss, 1 MiB', unit: 'ms', digits: 1 },
  smallHits: { measure: 'small', title: 'small hits, 1 KiB, 16 connections', unit: '/s', digits: 0 },
  smallPeerCpu: { measure: 'small', title: '  its CPU meanwhile', unit: '% of a core', digits: 0 },
  smallClientCpu: { measure: 'small', title: "  hey's CPU meanwhile", unit: '% of a core', digits: 0 },
  handshake: { measure: 'handshake', title: 'first handshake with a new host', unit: 'ms', digits: 1 },
  herdFetches: { measure: 'herd', title: '50 cold pulls of 8 MiB: fetches', unit: '', digits: 0 },
  herdLag: { measure: 'herd', title: '  last first byte after the first', unit: 'ms', digits: 1 },
  idleMemory: { measure: 'memory', title: 'resident, idle', unit: 'MB', digits: 0 },
  slowMemory: { measure: 'memory', title: 'resident, 64 slow readers of 1 GiB', unit: 'MB', digits: 0 },
} as const

export type MetricName = keyof typeof METRICS

export const METRIC_NAMES = Object.keys(METRICS) as readonly MetricName[]

export const MEASURES = ['miss', 'hit', 'first-byte', 'small', 'handshake', 'herd', 'memory'] as const

export type MeasureName = (typeof MEASURES)[number]
