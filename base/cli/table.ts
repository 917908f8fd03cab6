import { paint } from './terminal.js'
import { cutMiddle, LEAST_TEXT, padEnd, padStart, textWidth, wrap } from './text-width.js'

export interface Column {
  readonly title: string
  /** Figures. */
  readonly right?: true
  /** On a terminal that is too narrow: `cut` loses its middle; `wrap`, only for the last column, takes more lines. */
  readonly narrow?: 'cut' | 'wrap'
}

/** Without control characters. */
type Cell = string | { readonly text: string; readonly sgr: number }

export interface TableLook {
  /** Columns of the terminal, or Infinity. */
  readonly columns: number
  readonly colour: boolean
}

const GAP = 2
/** Of a column that is cut. */
const LEAST_WIDTH = 8
/** Where running text has no room beside the other columns, it goes below them. */
const BELOW_INDENT = '    '

/** The lines of a table with a title row, as wide as it must be, and not wider than the terminal where that can be. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  look: TableLook,
): readonly string[] {
  const natural = columns.map(({ title }, at) =>
    Math.max(textWidth(title), ...rows.map((row) => textWidth(textOf(row[at])))),
  )
  const last = columns.length - 1
  const wraps = columns[last]?.narrow === 'wrap' && total(natural) > look.columns
  const beside = shrunk(columns, wraps ? natural.slice(0, last) : natural, look.columns)
  const room = look.columns - total(beside) - GAP
  const lastWidth = wraps && room >= LEAST_TEXT ? room : undefined
  const widths = lastWidth === undefined ? beside : [...beside, lastWidth]
  const titles = line(
    columns,
    columns.map(({ title }) => title),
    widths,
    look,
  )
  const lines = rows.flatMap((row) => {
    const remark = wraps ? textOf(row[last]) : ''
    if (remark === '') return [line(columns, row, widths, look)]
    if (lastWidth !== undefined) {
      const [first = '', ...more] = wrap(remark, lastWidth)
      const indent = ' '.repeat(look.columns - lastWidth)
      return [
        line(columns, [...row.slice(0, last), first], widths, look),
        ...more.map((text) => indent + text),
      ]
    }
    const below = wrap(remark, look.columns - BELOW_INDENT.length)
    return [line(columns, row.slice(0, last), widths, look), ...below.map((text) => BELOW_INDENT + text)]
  })
  return [titles, ...lines]
}

/** The widest column that may be cut loses first. */
function shrunk(
  columns: readonly Column[],
  natural: readonly number[],
  available: number,
): readonly number[] {
  const widths = [...natural]
  for (let over = total(widths) - available; over > 0; over = total(widths) - available) {
    const widest = widths.reduce<number | undefined>((best, width, at) => {
      if (columns[at]?.narrow !== 'cut' || width <= LEAST_WIDTH) return best
      return best === undefined || width > (widths[best] ?? 0) ? at : best
    }, undefined)
    if (widest === undefined) break
    widths[widest] = (widths[widest] ?? 0) - 1
  }
  return widths
}

function line(
  columns: readonly Column[],
  cells: readonly Cell[],
  widths: readonly number[],
  { colour }: TableLook,
): string {
  return widths
    .map((width, at) => {
      const cell = cells[at] ?? ''
      const text = cutMiddle(textOf(cell), width)
      const padded = columns[at]?.right ? padStart(text, width) : padEnd(text, width)
      return typeof cell === 'string' ? padded : paint(padded, cell.sgr, colour)
    })
    .join(' '.repeat(GAP))
    .trimEnd()
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + width, 0) + GAP * Math.max(0, widths.length - 1)
}

function textOf(cell: Cell | undefined): string {
  return cell === undefined || typeof cell === 'string' ? (cell ?? '') : cell.text
}
