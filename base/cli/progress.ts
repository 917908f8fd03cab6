import { cutEnd } from './text-width.js'

/** The output that a progress line is shown on. */
export interface Screen {
  readonly isTTY: boolean
  /** Characters a line. */
  readonly columns: number
  /** As `isTTY` says unless given. */
  readonly colour?: boolean
  write(text: string): void
}

/** To the start of the line, and erase it: ECMA-48, 8.3.41. */
const WIPE = '\r\u001b[2K'

/** Writes lines that stay and, on a terminal, one line below them that is written anew each time. */
export function showProgress(screen: Screen, lines: readonly string[], changing = ''): void {
  const wipe = screen.isTTY ? WIPE : ''
  // A line that wraps could not be wiped.
  const last = screen.isTTY ? cutEnd(changing, Math.max(0, screen.columns - 1)) : ''
  const text = wipe + lines.map((line) => `${line}\n`).join('') + last
  if (text !== '') screen.write(text)
}

/** `[######      ]`; `share` of 1 is all. */
export function bar(share: number, cells: number): string {
  const full = Math.floor(Math.min(1, Math.max(0, share)) * cells)
  return `[${'#'.repeat(full)}${' '.repeat(cells - full)}]`
}
