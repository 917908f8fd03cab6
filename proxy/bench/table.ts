import { METRICS, METRIC_NAMES, type MetricName } from './stage/metrics.js'
import { PEER_NAMES, PEER_TITLES, type PeerName } from './peers/peer.js'
import { judge, type Verdict } from './requirements.js'

export interface Palette {
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
  readonly dim: (text: string) => string
}

export const PLAIN: Palette = { good: (text) => text, bad: (text) => text, dim: (text) => text }

/** SGR codes (ECMA-48, 8.3.117). */
export const COLOURS: Palette = {
  good: (text) => `\x1b[32m${text}\x1b[0m`,
  bad: (text) => `\x1b[31m${text}\x1b[0m`,
  dim: (text) => `\x1b[2m${text}\x1b[0m`,
}

type Median = (peer: PeerName, metric: MetricName) => number | undefined

/** The medians of all peers that took part, with the ratios of ours to squid and nginx. */
export function renderTable(median: Median, { dim }: Palette): string {
  const metrics = METRIC_NAMES.filter((metric) =>
    PEER_NAMES.some((peer) => median(peer, metric) !== undefined),
  )
  const peers = PEER_NAMES.filter((peer) => metrics.some((metric) => median(peer, metric) !== undefined))
  const rows = metrics.map((metric) => {
    const { title, unit, digits } = METRICS[metric]
    const figures = peers.map((peer) => figure(median(peer, metric), digits))
    const ratios = (['squid', 'nginx'] as const).map((peer) =>
      ratio(median('discobot', metric), median(peer, metric), metric),
    )
    return [title, unit, ...figures, ...ratios]
  })
  const head = ['median', '', ...peers.map((peer) => PEER_TITLES[peer]), '÷ squid', '÷ nginx']
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length)),
  )
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd()
  return [dim(line(head)), ...rows.map((row) => (row[0]?.startsWith(' ') ? dim(line(row)) : line(row)))].join(
    '\n',
  )
}

/** One line a requirement for each of ours that was measured. */
export function renderVerdicts(median: Median, palette: Palette): string {
  const ours = (['discobot', 'bundle'] as const).filter((peer) =>
    METRIC_NAMES.some((metric) => median(peer, metric) !== undefined),
  )
  return ours
    .map((peer) =>
      [`required of ${peer}:`, ...judge(peer, median).map((it) => verdictLine(it, palette))].join('\n'),
    )
    .join('\n\n')
}

function verdictLine({ requirement, met, ours, bound }: Verdict, { good, bad, dim }: Palette): string {
  const { text, metric, keep, against } = requirement
  const { unit, digits } = METRICS[metric]
  const name = text.padEnd(50)
  if (met === undefined || ours === undefined || bound === undefined) {
    const gap = ours === undefined ? 'ours' : (against ?? 'ours')
    return dim(`  ?       ${name} not measured: ${gap}`)
  }
  const figures = `${figure(ours, digits)} of ${keep} ${figure(bound, digits)} ${unit}`.trimEnd()
  return `  ${met ? good('met   ') : bad('MISSED')}  ${name} ${figures}`
}

function figure(value: number | undefined, digits: number): string {
  return value === undefined ? '–' : value.toFixed(digits)
}

function ratio(ours: number | undefined, theirs: number | undefined, metric: MetricName): string {
  if (METRICS[metric].title.startsWith(' ') || ours === undefined || !theirs) return ''
  return `${(ours / theirs).toFixed(2)}`
}
