import { textWidth, wrap } from '../../base/cli/text-width.js'
import { printable } from './printable.js'
import type { StepState, StepStatus } from './step.js'

interface TimelineOptions {
  /** Only for a terminal. */
  readonly colour: boolean
  /** From the start of the boot to its end, or to now. */
  readonly totalMs: number
  /** The width of the terminal in columns; the usual width unless given. */
  readonly columns?: number
}

const BAR_WIDTH = 12
/** Columns of a terminal that nobody has made wider, and of a log; a longer remark goes on below. */
const USUAL_COLUMNS = 80

interface Look {
  readonly mark: string
  /** SGR parameter, ECMA-48 8.3.117. */
  readonly colour: number
}

const LOOKS: Readonly<Record<StepState, Look>> = {
  waiting: { mark: '·', colour: 90 },
  running: { mark: '…', colour: 36 },
  done: { mark: '✓', colour: 32 },
  degraded: { mark: '!', colour: 33 },
  ignored: { mark: '~', colour: 90 },
  failed: { mark: '✗', colour: 31 },
  skipped: { mark: '-', colour: 90 },
}

/**
 * The boot as a table: mark, step, start and duration in milliseconds, a bar for when it ran, and its remark.
 * Ends without a newline.
 */
export function renderTimeline(steps: readonly StepStatus[], options: TimelineOptions): string {
  const nameWidth = Math.max('total'.length, ...steps.map((step) => step.name.length))
  const rows = steps.map((step) => renderStep(step, nameWidth, options))
  const total = `  ${'total'.padEnd(nameWidth)}  ${milliseconds(options.totalMs).padStart(BEFORE_BAR)}`
  return [...rows, total].join('\n')
}

const NUMBER_WIDTH = 9
/** Start, two blanks, duration. */
const BEFORE_BAR = 2 * NUMBER_WIDTH + 2

function renderStep(
  step: StepStatus,
  nameWidth: number,
  { colour, totalMs, columns = USUAL_COLUMNS }: TimelineOptions,
): string {
  const look = LOOKS[step.state]
  const mark = colour ? `\u001b[${look.colour}m${look.mark}\u001b[0m` : look.mark
  const started = step.startedMs === undefined ? '' : `+${milliseconds(step.startedMs)}`
  const took = step.tookMs === undefined ? '' : milliseconds(step.tookMs)
  const cells = [
    `${mark} ${step.name.padEnd(nameWidth)}`,
    started.padStart(NUMBER_WIDTH),
    (took === '' ? step.state : took).padStart(NUMBER_WIDTH),
    bar(step, totalMs),
  ]
  const row = cells.join('  ')
  const note = printable(step.note ?? '')
  const width = row.length - mark.length + 1
  if (width + 2 + textWidth(note) <= columns) return `${row}  ${note}`.trimEnd()
  return [row.trimEnd(), ...wrap(note, columns - NOTE_INDENT.length).map((line) => NOTE_INDENT + line)].join(
    '\n',
  )
}

const NOTE_INDENT = '    '

function bar({ startedMs, tookMs }: StepStatus, totalMs: number): string {
  if (startedMs === undefined || totalMs <= 0) return ' '.repeat(BAR_WIDTH)
  const perCell = totalMs / BAR_WIDTH
  const from = Math.min(BAR_WIDTH - 1, Math.floor(startedMs / perCell))
  const to = tookMs === undefined ? BAR_WIDTH : Math.ceil((startedMs + tookMs) / perCell)
  const length = Math.max(1, Math.min(BAR_WIDTH, to) - from)
  return `${' '.repeat(from)}${'█'.repeat(length)}`.padEnd(BAR_WIDTH)
}

function milliseconds(ms: number): string {
  return `${Math.round(ms)} ms`
}
