import { bar, showProgress, type Screen } from '../../base/cli/progress.js'
import { COLOURS, paint } from '../../base/cli/terminal.js'
import { cutMiddle, padEnd } from '../../base/cli/text-width.js'
import type { ItemReport, ItemState, JobReport, ReferenceReport } from '../warm/prewarm-job.js'

const WORDS: Readonly<Record<ItemState, string>> = {
  waiting: 'waiting',
  fetching: 'fetching',
  stored: 'stored already',
  fetched: 'fetched',
  'not kept': 'not kept',
  skipped: 'skipped: not in the registry',
  failed: 'failed',
}
const STATE_COLOURS: Readonly<Partial<Record<ItemState, number>>> = {
  stored: COLOURS.green,
  fetched: COLOURS.green,
  'not kept': COLOURS.yellow,
  skipped: COLOURS.yellow,
  failed: COLOURS.red,
}
const BAR_CELLS = 24
/** A digest with its algorithm: nothing is longer that is not a URL. */
const NAME_WIDTH = 71
const LEAST_NAME_WIDTH = 16
/** Kind, size and blanks beside the name, and the longest word for a state. */
const BESIDE_NAME = 24 + Math.max(...Object.values(WORDS).map((word) => word.length))

/** What a job is doing, for a person: a line for each thing that is done and, on a terminal, a bar for the rest. */
export class Progress {
  readonly #screen: Screen
  readonly #now: () => number
  readonly #started: number
  readonly #told = new Set<string>()

  /** @param now milliseconds, monotonic. */
  constructor(screen: Screen, now: () => number) {
    this.#screen = screen
    this.#now = now
    this.#started = now()
  }

  show(report: JobReport): void {
    const lines = report.references.flatMap((reference, at) => this.#newLines(reference, at))
    showProgress(this.#screen, lines, report.state === 'running' ? describe(report, this.#seconds()) : '')
  }

  /** Each line once; `at` tells references of the same name apart. */
  #newLines(reference: ReferenceReport, at: number): string[] {
    const { items, problem, platform } = reference
    const lines: string[] = []
    const tell = (key: string, line: string): void => {
      if (this.#told.has(`${at} ${key}`)) return
      this.#told.add(`${at} ${key}`)
      lines.push(line)
    }
    if (items.length > 0) tell('', reference.reference)
    if (platform !== undefined) tell('platform', `  platform  ${platform}`)
    for (const item of items) if (isSettled(item)) tell(`item ${item.name}`, this.#itemLine(item))
    if (problem !== undefined)
      tell('problem', this.#paint(`  ${reference.reference}: ${problem}`, STATE_COLOURS.failed))
    return lines
  }

  #itemLine({ kind, name, size, state }: ItemReport): string {
    const width = Math.max(LEAST_NAME_WIDTH, Math.min(NAME_WIDTH, this.#screen.columns - BESIDE_NAME))
    const shown = padEnd(cutMiddle(name, width), width)
    const line = `  ${kind.padEnd(9)} ${shown} ${formatBytes(size ?? 0).padStart(9)}  `
    return `${line}${this.#paint(WORDS[state], STATE_COLOURS[state])}`
  }

  #seconds(): number {
    return (this.#now() - this.#started) / 1000
  }

  #paint(text: string, sgr: number | undefined): string {
    return paint(text, sgr, this.#screen.colour ?? this.#screen.isTTY)
  }
}

/** How far the job is, in one line. */
function describe({ references }: JobReport, seconds: number): string {
  const items = references.flatMap((reference) => reference.items).filter(({ state }) => state !== 'skipped')
  const total = sum(items.map(({ size, received }) => size ?? received))
  const received = sum(items.map((item) => item.received))
  const share = total === 0 ? 0 : Math.min(1, received / total)
  return [
    `  ${bar(share, BAR_CELLS)}`,
    `${Math.floor(share * 100)} %`,
    `${formatBytes(received)} of ${formatBytes(total)}`,
    `${formatBytes(received / Math.max(0.001, seconds))}/s`,
    `${items.filter(isSettled).length} of ${items.length}`,
  ].join('  ')
}

/** The last line: what is there now, and what is not. */
export function summary({ references, state }: JobReport): string {
  const items = references.flatMap((reference) => reference.items)
  const part = (wanted: ItemState): string | undefined => {
    const found = items.filter((item) => item.state === wanted)
    if (found.length === 0) return undefined
    return `${found.length} ${WORDS[wanted]} (${formatBytes(sum(found.map(({ received }) => received)))})`
  }
  const parts = (['fetched', 'stored', 'not kept', 'skipped', 'failed'] as const)
    .map(part)
    .filter((text) => text !== undefined)
  const kept = items.some((item) => item.state === 'not kept')
    ? '\nWhat was not kept is covered by no rule; see cache.rules and cache.patterns.'
    : ''
  return `${state}: ${parts.join(', ') || 'nothing was fetched'}${kept}`
}

/** 1 MB is 10⁶ bytes. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const at = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1000 ** at).toFixed(at === 0 ? 0 : 1)} ${units[at] ?? 'B'}`
}

function isSettled({ state }: ItemReport): boolean {
  return state !== 'waiting' && state !== 'fetching'
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}
