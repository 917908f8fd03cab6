import type { ItemReport, ItemState, JobReport, ReferenceReport } from './prewarm-job.js'

/** What of standard output a progress display needs. */
export interface Screen {
  readonly isTTY: boolean
  /** Characters a line. */
  readonly columns: number
  write(text: string): void
}

const WORDS: Readonly<Record<ItemState, string>> = {
  waiting: 'waiting',
  fetching: 'fetching',
  stored: 'stored already',
  fetched: 'fetched',
  'not kept': 'not kept',
  skipped: 'skipped: not in the registry',
  failed: 'failed',
}
/** SGR parameters, ECMA-48 8.3.117. */
const COLOURS: Readonly<Partial<Record<ItemState, number>>> = {
  stored: 32,
  fetched: 32,
  'not kept': 33,
  skipped: 33,
  failed: 31,
}
const BAR_CELLS = 24
/** To the start of the line, and erase it: ECMA-48, 8.3.41. */
const WIPE = '\r\u001b[2K'

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
    const bar = this.#screen.isTTY && report.state === 'running' ? this.#bar(report) : ''
    const wipe = this.#screen.isTTY ? WIPE : ''
    const text = wipe + lines.map((line) => `${line}\n`).join('') + bar
    if (text !== '') this.#screen.write(text)
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
      tell('problem', this.#paint(`  ${reference.reference}: ${problem}`, COLOURS.failed))
    return lines
  }

  #itemLine({ kind, name, size, state }: ItemReport): string {
    const shown = name.length > 71 ? `${name.slice(0, 68)}...` : name
    const line = `  ${kind.padEnd(9)} ${shown.padEnd(71)} ${formatBytes(size ?? 0).padStart(9)}  `
    return `${line}${this.#paint(WORDS[state], COLOURS[state])}`
  }

  #bar({ references }: JobReport): string {
    const items = references
      .flatMap((reference) => reference.items)
      .filter(({ state }) => state !== 'skipped')
    const total = sum(items.map(({ size, received }) => size ?? received))
    const received = sum(items.map((item) => item.received))
    const share = total === 0 ? 0 : Math.min(1, received / total)
    const cells = Math.floor(share * BAR_CELLS)
    const rate = received / Math.max(0.001, (this.#now() - this.#started) / 1000)
    const text = [
      `  [${'#'.repeat(cells)}${' '.repeat(BAR_CELLS - cells)}]`,
      `${Math.floor(share * 100)} %`,
      `${formatBytes(received)} of ${formatBytes(total)}`,
      `${formatBytes(rate)}/s`,
      `${items.filter(isSettled).length} of ${items.length}`,
    ].join('  ')
    // A line that wraps could not be wiped.
    return text.slice(0, Math.max(0, this.#screen.columns - 1))
  }

  #paint(text: string, sgr: number | undefined): string {
    return this.#screen.isTTY && sgr !== undefined ? `\u001b[${sgr}m${text}\u001b[0m` : text
  }
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
